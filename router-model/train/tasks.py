"""Multinomial logistic regression for the task, over the same features."""

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from heads import TASKS, hash_fold

HASHED_SCALE = 4.0
PENALTY_INVERSE = 0.3
VECTOR_PENALTY_INVERSE = 0.05
ROWS_MAX = {"gsm8k_train": 1200}


def select(table):
    rows, taken = [], {}
    for index, row in enumerate(table.rows):
        limit = ROWS_MAX.get(row.source, 10**9)
        taken[row.source] = taken.get(row.source, 0) + 1
        if row.trainable and row.task in TASKS and taken[row.source] <= limit:
            rows.append(index)
    return np.array(rows)


def fit(table, rows):
    """Returns (dense [tasks, d], hashed [tasks, buckets], bias [tasks]); classes without rows never win."""
    labels = np.array([TASKS.index(table.rows[i].task) for i in rows])
    counts = np.bincount(labels, minlength=len(TASKS))
    weight = 1.0 / np.sqrt(counts[labels])
    design = sp.hstack([sp.csr_matrix(table.z[rows]), HASHED_SCALE * table.hashed[rows]]).tocsr()
    model = LogisticRegression(C=PENALTY_INVERSE, max_iter=150, tol=1e-3).fit(design, labels, sample_weight=weight / weight.mean())
    width = table.z.shape[1]
    dense = np.zeros((len(TASKS), width))
    hashed = np.zeros((len(TASKS), table.hashed.shape[1]))
    bias = np.full(len(TASKS), -30.0)
    for at, task in enumerate(model.classes_):
        dense[task] = model.coef_[at, :width]
        hashed[task] = HASHED_SCALE * model.coef_[at, width:]
        bias[task] = model.intercept_[at]
    return dense, hashed, bias


def fit_vectors(table):
    """The same over the encoder's vectors: (weights [tasks, width], bias [tasks])."""
    rows = select(table)
    labels = np.array([TASKS.index(table.rows[i].task) for i in rows])
    weight = 1.0 / np.sqrt(np.bincount(labels, minlength=len(TASKS))[labels])
    model = LogisticRegression(C=VECTOR_PENALTY_INVERSE, max_iter=150, tol=1e-3).fit(table.v[rows], labels, sample_weight=weight / weight.mean())
    found, bias = np.zeros((len(TASKS), table.v.shape[1])), np.full(len(TASKS), -30.0)
    found[model.classes_], bias[model.classes_] = model.coef_, model.intercept_
    return found, bias


def predict(table, model, rows):
    dense, hashed, bias = model
    return np.argmax(table.z[rows] @ dense.T + table.hashed[rows] @ hashed.T + bias, axis=1)


def evaluate(table):
    """Accuracy by class on a fifth of the prompts, held out by prompt hash."""
    rows = select(table)
    fold = np.array([hash_fold(table.key[i], 5) for i in rows])
    held = rows[fold == 0]
    guess = predict(table, fit(table, rows[fold != 0]), held)
    truth = np.array([TASKS.index(table.rows[i].task) for i in held])
    report = {"rows": len(held), "accuracy": float((guess == truth).mean()), "by_class": {}}
    for index, task in enumerate(TASKS):
        mask = truth == index
        if mask.any():
            report["by_class"][task] = {"rows": int(mask.sum()), "recall": float((guess[mask] == index).mean()),
                                        "precision": float((truth[guess == index] == index).mean()) if (guess == index).any() else None}
    return report
