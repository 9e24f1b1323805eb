"""Fits the router model that ships to one's own graded traffic, without the data that it was trained on.

The model that ships is the starting point and keeps its words, its encoder and its kinds of work. From rows with features and a
grade (`sluicegate export --what graded`, with `[ledger] features = true`) a logistic regression finds by how much the weights of
the hand features should move, held back by a penalty that cross-validation picks, and both calibration curves move towards what
was observed, the more so the more rows there are. Few rows therefore change little.
"""

import json
import pathlib
import shutil
import struct

import numpy as np
from scipy.optimize import minimize

import heads
import measure

ROWS_MIN = 60
FOLDS = 5
# Strengths of the penalty on moved weights, in units of rows.
PENALTIES = (3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
# Rows at which a curve is half of what was observed and half of what it was.
HALF_ROWS = 100.0
SLOPE_MIN = 0.0005


class Weights:
    """The file `weights.bin`, part by part in its order (`train.py` writes it, `model.rs` reads it)."""

    def __init__(self, path):
        self.raw = pathlib.Path(path).read_bytes()
        version, self.dense_count, _, tasks, first, second = struct.unpack_from("<6I", self.raw, 4)
        if self.raw[:4] != b"SGRW" or version != 3:
            raise SystemExit(f"{path}: not weights of this version")
        d, at, self.at = self.dense_count, 28, {}
        sizes = [("mean", d), ("scale", d), ("dense", d), ("bias", 1), ("kind_dense", 3 * d), ("kind_bias", 3), ("kind", 2), ("task_dense", tasks * d), ("task_bias", tasks),
                 ("columns", 1 + tasks), ("x1", first), ("y1", first), ("usual", 1), ("output", d), ("output_bias", 1), ("task_shift", tasks), ("beside", d),
                 ("beside_shift", tasks), ("reach", 1), ("x2", second), ("y2", second)]
        for name, count in sizes:
            self.at[name] = (at, count)
            at += 4 * count

    def get(self, name):
        at, count = self.at[name]
        return np.frombuffer(self.raw, "<f4", count, at).astype(float)

    def put(self, name, values):
        at, count = self.at[name]
        assert len(values) == count
        self.raw = self.raw[:at] + np.asarray(values, "<f4").tobytes() + self.raw[at + 4 * count :]


def read(path, width):
    rows = []
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        row = json.loads(line)
        if row.get("good") is None or not row.get("features"):
            continue
        if len(row["features"]) != width:
            raise SystemExit(f"{path}:{number}: {len(row['features'])} features, and this version knows {width}")
        rows.append(row)
    if len(rows) < ROWS_MIN:
        raise SystemExit(f"{path}: {len(rows)} rows have a grade and features; at least {ROWS_MIN} are needed")
    return rows


def fit(score, z, fail, penalty):
    """P(fail) = logistic(a score + b + z moved), with a above zero: (a, b, moved)."""
    def loss(w):
        logit = np.exp(w[0]) * score + w[1] + z @ w[2:]
        value = (np.logaddexp(0, logit) - fail * logit).sum() + 0.5 * penalty * (w[2:] ** 2).sum() + 0.5 * (w[0] ** 2)
        error = 1 / (1 + np.exp(-logit)) - fail
        return value, np.concatenate([[np.exp(w[0]) * (error @ score) + w[0], error.sum()], z.T @ error + penalty * w[2:]])
    found = minimize(loss, np.zeros(2 + z.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return float(np.exp(found[0])), float(found[1]), found[2:]


def refit(artifact, rows_path, out):
    """Writes a new artifact; returns the figures, each from rows that the fit had not seen."""
    artifact, out = pathlib.Path(artifact), pathlib.Path(out)
    weights = Weights(artifact / "weights.bin")
    rows = read(rows_path, weights.dense_count)
    fail = np.array([1.0 - row["good"] for row in rows])
    if fail.max() - fail.min() < 1e-9:
        raise SystemExit(f"{rows_path}: all grades are the same; nothing can be learnt from them")
    second = np.array([row.get("rung") == "encoder" for row in rows])
    features = np.array([row["features"] for row in rows], float)
    z = heads.standardise(features, weights.get("mean"), weights.get("scale"))
    before = np.array([row["complexity"] for row in rows])
    inverse = lambda rung: np.interp(before, weights.get(f"y{rung}"), weights.get(f"x{rung}"))
    score = np.where(second, inverse(2), inverse(1))
    unit = score.std() + 1e-6
    fold = np.array([heads.hash_fold(row["id"], FOLDS) for row in rows])

    def out_of_fold(penalty):
        guess = np.zeros(len(rows))
        for held in range(FOLDS):
            mask = fold == held
            if mask.any() and not mask.all():
                a, b, moved = fit(score[~mask] / unit, z[~mask], fail[~mask], penalty)
                guess[mask] = 1 / (1 + np.exp(-(a * score[mask] / unit + b + z[mask] @ moved)))
        return guess

    brier = {penalty: ((out_of_fold(penalty) - fail) ** 2).mean() for penalty in PENALTIES}
    penalty = min(brier, key=brier.get)
    guess = out_of_fold(penalty)
    a, b, moved = fit(score / unit, z, fail, penalty)
    weights.put("dense", weights.get("dense") + moved * unit / a)
    for rung, count in ((1, (~second).sum()), (2, second.sum())):
        x, y = weights.get(f"x{rung}"), weights.get(f"y{rung}")
        share = count / (count + HALF_ROWS)
        curve = (1 - share) * y + share / (1 + np.exp(-(a * x / unit + b)))
        for at in range(1, len(curve)):
            curve[at] = max(curve[at], curve[at - 1] + SLOPE_MIN)
        weights.put(f"y{rung}", np.clip(curve, 0.0, 1.0))
    out.mkdir(parents=True, exist_ok=True)
    (out / "weights.bin").write_bytes(weights.raw)
    if (artifact / "encoder").is_dir() and out.resolve() != artifact.resolve():
        shutil.copytree(artifact / "encoder", out / "encoder", dirs_exist_ok=True)
    label = (fail > 0.5).astype(float)
    figures = lambda p: {"auroc": measure.auroc(p, label), "ece": measure.ece(p, fail), "brier": float(((p - fail) ** 2).mean())}
    metrics = {"rows": len(rows), "penalty": penalty, "before": figures(before), "after": figures(guess)}
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    return metrics
