"""From a score to a probability: a monotone curve of straight pieces."""

import numpy as np
from sklearn.isotonic import IsotonicRegression

QUANTILES = [0.004, 0.012, 0.025, 0.04, 0.06, 0.09, 0.14, 0.22, 0.32, 0.44, 0.56, 0.67, 0.77, 0.85, 0.91, 0.95, 0.98, 0.993]
SLOPE_MIN = 0.004
REACH = 12.0
ENDS = (0.01, 0.99)


def fit(score, label, weight):
    """Knots (x, y), both strictly rising, so that calibration never changes a ranking."""
    curve = IsotonicRegression(y_min=0.03, y_max=0.97, increasing=True).fit(score, label, sample_weight=weight)
    order = np.argsort(score)
    share = np.cumsum(weight[order]) / weight.sum()
    edges = [score[order][np.searchsorted(share, q)] for q in QUANTILES]
    x = np.array(sorted(set(np.round(edges, 6))))
    # The curve is averaged around each knot: the steps of isotonic regression are noise.
    width = np.gradient(x) / 2
    y = np.array([np.mean(curve.predict(np.linspace(at - w, at + w, 21))) for at, w in zip(x, width)])
    for i in range(1, len(y)):
        y[i] = max(y[i], y[i - 1] + SLOPE_MIN)
    x = np.concatenate([[x[0] - REACH], [x[0] - 1.5], x, [x[-1] + 1.5], [x[-1] + REACH]])
    y = np.concatenate([[ENDS[0]], [max(y[0] * 0.5, ENDS[0] + SLOPE_MIN)], y, [min((y[-1] + 1.0) / 2, ENDS[1] - SLOPE_MIN)], [ENDS[1]]])
    return x.astype(np.float32), np.maximum.accumulate(y).astype(np.float32)


def apply(knots, score):
    return np.interp(score, knots[0].astype(float), knots[1].astype(float))
