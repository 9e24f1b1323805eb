"""Ranking and calibration metrics."""

import numpy as np
from scipy.stats import rankdata, spearmanr


def auroc(score, positive):
    known = ~np.isnan(positive)
    score, positive = score[known], positive[known] > 0.5
    if positive.all() or not positive.any():
        return float("nan")
    ranks, ones, zeros = rankdata(score), positive.sum(), (~positive).sum()
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def apgr(score, small, large):
    """Average performance gap recovered, over the share of calls that go to the large model."""
    known = ~np.isnan(large)
    score, small, large = score[known], small[known], large[known]
    if len(score) == 0 or large.mean() - small.mean() < 0.05:
        return float("nan")
    order = np.argsort(-score, kind="stable")
    return float(np.concatenate([[0], np.cumsum((large - small)[order])]).mean() / (large - small).sum())


def spearman(score, value):
    return float(spearmanr(score, value).statistic)


def ece(probability, label, bins=10):
    """Expected calibration error over bins of equal width; labels may be soft."""
    at = np.minimum((probability * bins).astype(int), bins - 1)
    return float(sum(abs(probability[at == b].mean() - label[at == b].mean()) * (at == b).mean() for b in range(bins) if (at == b).any()))


def reliability(probability, label, bins=10):
    at = np.minimum((probability * bins).astype(int), bins - 1)
    return [{"from": b / bins, "rows": int((at == b).sum()), "predicted": float(probability[at == b].mean()), "observed": float(label[at == b].mean())}
            for b in range(bins) if (at == b).any()]
