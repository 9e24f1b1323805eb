"""Linear heads over hand features and hashed words, and their blend.

The score is a weighted sum of three linear heads and the logarithm of the length, hence itself linear:

* `centred`: what makes a question harder than its neighbours. Labels and hand features are centred within each
  source, because otherwise the head learns to tell sources apart. Averaged from two settings of the penalty.
* `level`: how hard a kind of prompt is, on an absolute scale; uncentred, hand features only, with assigned levels
  for the prompts that carry no measured label.
* `length`: the baseline that is hard to beat.

Two more heads belong to the second rung (`encoder.py`): `difficulty` is the centred head again, with the encoder's vector beside
the hand features, and `gap` says from the vector alone by how much a strong model does better than small ones, centred likewise.

A fourth head, `kind`, moves prompts that look like everyday requests down and prompts that look like those that
people pick for being hard up. It is a softmax over (routine, neither, hard) on the hand features; on question sets it
answers "neither", so it leaves their order alone.

The blend was chosen once on leave-one-source-out predictions among a dozen candidates that were within noise of
each other; the simplest of the best was kept.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import lsqr
from sklearn.linear_model import LogisticRegression

BLEND = {"centred_mixed": 0.5, "centred_words": 0.5, "level": 0.7, "length": 1.0}
# What the second rung adds, in units of the spread of the first one's score.
SECOND_LENGTH, SECOND_DIFFICULTY, SECOND_GAP = 1.0, 1.0, 0.3
# What the first rung's own share of the length is raised by, in the same units.
FIRST_LENGTH = 0.6
SECOND_PENALTY = {"difficulty": 4000.0, "gap": 16000.0}
GAP_MIN = 0.03
OUTPUT_PENALTY = 30.0
# The order of `policies::Task::ALL`.
TASKS = ["open_qa", "closed_qa", "knowledge_mcq", "reading_mcq", "math", "code", "reasoning", "summarization", "rewriting",
         "classification", "extraction", "creative_writing", "constrained_generation", "howto", "roleplay", "open_ended", "instruction"]
TASK_COUNT = len(TASKS)
# Penalty on (hand features, hashed words).
PENALTY = {"centred_mixed": (100.0, 30.0), "centred_words": (3000.0, 10.0), "level": (30.0, None)}
STEPS_WEIGHT = 0.5
# Units of the blended score (unit spread of each head) between "surely neither" and "surely hard" or "surely routine".
KIND_SHIFT = 6.0
# Below this probability a kind moves nothing: most questions of a question set stay where the score put them.
KIND_SURE = 0.4
KIND_PENALTY_INVERSE = 0.05
KIND_ROWS_MAX = 300
KINDS = {"own_routine": 0, "own_hard": 2, "arena_hard_v0.1": 2, "arena_hard_v2.0": 2}
CLIP = 4.0

# Assigned levels: the probability that a strong model is needed, by judgement, for prompts without a measured label.
LEVELS = {"arena_hard_v0.1": 0.8, "arena_hard_v2.0": 0.8, "own_hard": 0.9, "own_routine": 0.08, "self_instruct_seed": 0.3,
          "p3_typed": 0.3}
CREATIVE_LEVEL = 0.6
# Sources whose automatic score depends on wording as much as on knowledge say less about the level.
LEVEL_TRUST = {"llmrouter_trivia_qa": 0.25, "llmrouter_natural_qa": 0.25, "llmrouter_commongen": 0.5}


@dataclass
class Model:
    """What is exported: one linear score and the softmax over kinds."""

    dense: np.ndarray
    words: np.ndarray
    bias: float
    kind_dense: np.ndarray
    kind_bias: np.ndarray
    task_shift: np.ndarray

    def score(self, z, hashed, task):
        logits = z @ self.kind_dense.T + self.kind_bias
        power = np.exp(logits - logits.max(1, keepdims=True))
        kind = power / power.sum(1, keepdims=True)
        sure = np.maximum(0.0, (kind - KIND_SURE) / (1.0 - KIND_SURE))
        return z @ self.dense + hashed @ self.words + self.bias + KIND_SHIFT * (sure[:, 2] - sure[:, 0]) + shifted(self.task_shift, task)


class Table:
    """Rows as arrays. `vectors` `[rows, width]` are those of the encoder."""

    def __init__(self, rows, dense, hashed, vectors):
        self.rows = rows
        self.dense = dense
        self.hashed = hashed
        self.source = np.array([row.source for row in rows])
        self.key = np.array([row.key for row in rows])
        self.trainable = np.array([row.trainable for row in rows])
        self.fail = np.array([np.nan if row.fail is None else row.fail for row in rows])
        self.large = np.array([np.nan if row.large is None else row.large for row in rows])
        self.steps = np.array([row.meta.get("n_steps") or np.nan for row in rows], float)
        self.level = np.array([LEVELS.get(row.source, np.nan) for row in rows])
        creative = np.array([row.task == "creative_writing" for row in rows])
        self.level[(self.source == "arena_hard_v2.0") & creative] = CREATIVE_LEVEL
        self.kind_rows = limited(self.source, KIND_ROWS_MAX) & (self.source != "self_instruct_seed")
        self.mean = dense[self.trainable].mean(0)
        self.scale = 1.0 / (dense[self.trainable].std(0) + 1e-6)
        self.z = standardise(dense, self.mean, self.scale)
        self.vectors = vectors
        self.vector_mean = vectors[self.trainable].mean(0)
        self.vector_scale = 1.0 / (vectors[self.trainable].std(0) + 1e-6)
        self.v = (vectors - self.vector_mean) * self.vector_scale
        self.task = np.array([TASKS.index(row.task) if row.task in TASKS else -1 for row in rows])
        self.output_tokens = np.array([row.meta.get("output_tokens") or np.nan for row in rows], float)
        self.measured = [s for s in dict.fromkeys(self.source) if not np.isnan(self.fail[self.source == s]).all()]


def limited(source, most):
    """Marks at most `most` rows of each source, evenly spread."""
    marks = np.zeros(len(source), bool)
    for name in np.unique(source):
        rows = np.flatnonzero(source == name)
        marks[rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]] = True
    return marks


def standardise(dense, mean, scale):
    return np.clip((dense - mean) * scale, -CLIP, CLIP)


def centred_target(table, with_steps):
    target, weight = np.zeros(len(table.rows)), np.zeros(len(table.rows))
    for source in table.measured:
        mask = (table.source == source) & table.trainable
        if mask.any():
            values = table.fail[mask]
            target[mask] = (values - values.mean()) / (values.std() + 1e-6)
            weight[mask] = 1.0 / np.sqrt(mask.sum())
    if with_steps:
        mask = (table.source == "gsm8k_train") & ~np.isnan(table.steps)
        values = np.log(np.maximum(table.steps[mask], 1))
        target[mask] = (values - values.mean()) / values.std()
        weight[mask] = STEPS_WEIGHT / np.sqrt(mask.sum())
    return target, weight


def gap_target(table):
    """By how much strong models do better, where they do."""
    target, weight = np.zeros(len(table.rows)), np.zeros(len(table.rows))
    for source in table.measured:
        mask = (table.source == source) & table.trainable & ~np.isnan(table.large)
        values = table.large[mask] + table.fail[mask] - 1.0
        if mask.any() and values.mean() > GAP_MIN:
            target[mask] = (values - values.mean()) / (values.std() + 1e-6)
            weight[mask] = 1.0 / np.sqrt(mask.sum())
    return target, weight


def level_target(table):
    target, weight = np.zeros(len(table.rows)), np.zeros(len(table.rows))
    for source in table.measured:
        mask = (table.source == source) & table.trainable
        if mask.any():
            target[mask] = table.fail[mask]
            weight[mask] = LEVEL_TRUST.get(source, 1.0) / np.sqrt(mask.sum())
    for source in LEVELS:
        mask = (table.source == source) & table.trainable
        target[mask] = table.level[mask]
        weight[mask] = 1.0 / np.sqrt(max(mask.sum(), 1))
    return target, weight


def ridge(dense, hashed, target, weight, penalty):
    """Weighted ridge regression; returns (dense coefficients, hashed coefficients, intercept)."""
    root = np.sqrt(weight / weight.mean())
    intercept = np.average(target, weights=weight)
    blocks, shrink = [sp.csr_matrix(dense)], [np.full(dense.shape[1], np.sqrt(penalty[0]))]
    if penalty[1] is not None:
        blocks.append(hashed)
        shrink.append(np.full(hashed.shape[1], np.sqrt(penalty[1])))
    design = sp.diags(root) @ sp.hstack(blocks).tocsr()
    shrink = np.concatenate(shrink)
    system = sp.vstack([design, sp.diags(shrink)]).tocsr()
    right = np.concatenate([(target - intercept) * root, np.zeros(len(shrink))])
    found = lsqr(system, right, iter_lim=80, atol=1e-5, btol=1e-5)[0]
    words = found[dense.shape[1]:] if penalty[1] is not None else np.zeros(hashed.shape[1])
    return found[: dense.shape[1]], words, intercept


def fit(table, keep):
    """The model from the rows where `keep` holds."""
    dense, words, bias = np.zeros(table.z.shape[1]), np.zeros(table.hashed.shape[1]), 0.0
    parts = {}
    for name, with_steps in (("centred_mixed", True), ("centred_words", False)):
        target, weight = centred_target(table, with_steps)
        rows = np.flatnonzero(keep & (weight > 0))
        z = table.z[rows].copy()
        for source in np.unique(table.source[rows]):
            mask = table.source[rows] == source
            z[mask] -= z[mask].mean(0)
        parts[name] = ridge(z, table.hashed[rows], target[rows], weight[rows], PENALTY[name])
    target, weight = level_target(table)
    rows = np.flatnonzero(keep & (weight > 0))
    parts["level"] = ridge(table.z[rows], table.hashed[rows], target[rows], weight[rows], PENALTY["level"])
    length = np.zeros(table.z.shape[1])
    length[0] = 1.0
    parts["length"] = (length, np.zeros_like(words), 0.0)
    # Heads have different units: each is brought to unit spread over the measured training rows before it is blended.
    scope = keep & table.trainable & ~np.isnan(table.fail)
    for name, (head_dense, head_words, _) in parts.items():
        raw = table.z[scope] @ head_dense + table.hashed[scope] @ head_words
        factor = BLEND[name] / raw.std()
        dense += factor * head_dense
        words += factor * head_words
        bias -= factor * raw.mean()
    raw = table.z[scope] @ dense + table.hashed[scope] @ words
    more = FIRST_LENGTH * raw.std() / table.z[scope, 0].std()
    dense[0] += more
    return Model(dense, words, bias, *fit_kind(table, keep), -more * task_lengths(table, keep))


def task_lengths(table, keep):
    """Mean length of the prompts of each kind of work, less the mean over all kinds that occur. The added weight of the length is
    for prompts of one kind: a text to be summed up is not hard because it is longer than a question."""
    means = np.full(TASK_COUNT, np.nan)
    for task in range(TASK_COUNT):
        rows = keep & table.trainable & (table.task == task)
        if rows.any():
            means[task] = table.z[rows, 0].mean()
    return np.nan_to_num(means - np.nanmean(means))


def shifted(shifts, task):
    return np.where(task >= 0, shifts[np.maximum(task, 0)], 0.0)


@dataclass
class Second:
    """What the encoder adds to the score of the features: `difficulty` and `gap` are heads over its vector, brought to the units in
    which they are added; `beside` is what the hand features add in the same place."""

    difficulty: np.ndarray
    gap: np.ndarray
    beside: np.ndarray
    task_shift: np.ndarray

    def added(self, z, v, task):
        return v @ self.difficulty + v @ self.gap + z @ self.beside + shifted(self.task_shift, task)


def fit_second(table, keep, first):
    """The second rung's heads from the rows where `keep` holds; `first` is the model of the first rung."""
    scope = np.flatnonzero(keep & table.trainable & ~np.isnan(table.fail))
    unit = (table.z[scope] @ first.dense + table.hashed[scope] @ first.words).std()
    width = table.v.shape[1]
    both = solve_centred(table, np.hstack([table.v, table.z]), *centred_target(table, True), keep, SECOND_PENALTY["difficulty"])
    both *= SECOND_DIFFICULTY * unit / (table.v[scope] @ both[:width] + table.z[scope] @ both[width:]).std()
    gap = solve_centred(table, table.v, *gap_target(table), keep, SECOND_PENALTY["gap"])
    gap *= SECOND_GAP * unit / (table.v[scope] @ gap).std()
    beside = both[width:].copy()
    more = (SECOND_LENGTH - FIRST_LENGTH) * unit / table.z[scope, 0].std()
    beside[0] += more
    return Second(both[:width], gap, beside, -more * task_lengths(table, keep))


def solve_centred(table, features, target, weight, keep, penalty):
    """Weighted ridge regression on features that are centred within each source."""
    rows = np.flatnonzero(keep & (weight > 0))
    centred = features[rows].copy()
    for source in np.unique(table.source[rows]):
        mask = table.source[rows] == source
        centred[mask] -= centred[mask].mean(0)
    weighted = centred * (weight[rows] / weight[rows].mean())[:, None]
    return np.linalg.solve(weighted.T @ centred + penalty * np.eye(features.shape[1]), weighted.T @ target[rows])


def fit_output(table, keep):
    """Logarithm of the answer's length in tokens, by ridge regression on the hand features: (weights, bias). Kinds of question
    count alike."""
    rows = np.flatnonzero(keep & ~np.isnan(table.output_tokens))
    target = np.log(table.output_tokens[rows])
    sources, at, counts = np.unique(table.source[rows], return_inverse=True, return_counts=True)
    found, _, bias = ridge(table.z[rows], table.hashed[rows], target, 1.0 / np.sqrt(counts[at]), (OUTPUT_PENALTY, None))
    return found, bias


def fit_kind(table, keep):
    rows = np.flatnonzero(keep & table.trainable & table.kind_rows)
    kind = np.array([KINDS.get(source, 1) for source in table.source[rows]])
    sources, at, counts = np.unique(table.source[rows], return_inverse=True, return_counts=True)
    weight = 1.0 / np.sqrt(counts[at])
    model = LogisticRegression(C=KIND_PENALTY_INVERSE, max_iter=100, tol=1e-3).fit(table.z[rows], kind, sample_weight=weight / weight.mean())
    return model.coef_, model.intercept_


def score(table, model, rows):
    return model.score(table.z[rows], table.hashed[rows], table.task[rows])


def both_scores(table, keep, rows):
    first = fit(table, keep)
    scores = score(table, first, rows)
    return scores, scores + fit_second(table, keep, first).added(table.z[rows], table.v[rows], table.task[rows])


def leave_one_source_out(table):
    """For each measured source: scores of both rungs by models that saw neither the source nor any of its prompts elsewhere."""
    scores = np.full((2, len(table.rows)), np.nan)
    for source in table.measured:
        held = table.source == source
        keep = ~held & ~np.isin(table.key, table.key[held])
        scores[:, held] = both_scores(table, keep, held)
    return scores


def assigned_out_of_fold(table, folds=5):
    """Scores of the rows with assigned levels, each by a model that did not see its fold."""
    scores = np.full((2, len(table.rows)), np.nan)
    fold = np.array([hash_fold(key, folds) for key in table.key])
    for index in range(folds):
        held = (fold == index) & ~np.isnan(table.level) & table.trainable
        scores[:, held] = both_scores(table, fold != index, held)
    return scores


def hash_fold(key, folds):
    value = 2166136261
    for byte in key.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return (value ^ (value >> 13)) % folds
