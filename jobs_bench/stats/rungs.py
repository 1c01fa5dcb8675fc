"""How far a short run tells the order of long ones: rank correlations between rungs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

MIN_TRIALS = 3

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RungCorrelation:
    """Correlations between steps, `(steps, steps)`; NaN where fewer than three trials have both."""

    spearman: Floats
    kendall: Floats
    trials: NDArray[np.int64]


def rung_correlation(curves: Floats) -> RungCorrelation:
    """Return the correlations of scores `(trials, steps)`, NaN where a trial was not measured."""
    n = curves.shape[1]
    spearman, kendall = np.full((n, n), math.nan), np.full((n, n), math.nan)
    counts = np.zeros((n, n), dtype=np.int64)
    known = np.isfinite(curves)
    for i in range(n):
        for j in range(i, n):
            both = known[:, i] & known[:, j]
            x, y = curves[both, i], curves[both, j]
            counts[i, j] = counts[j, i] = len(x)
            if len(x) >= MIN_TRIALS and np.ptp(x) > 0 and np.ptp(y) > 0:
                spearman[i, j] = spearman[j, i] = float(stats.spearmanr(x, y)[0])
                kendall[i, j] = kendall[j, i] = float(stats.kendalltau(x, y)[0])
    return RungCorrelation(spearman, kendall, counts)
