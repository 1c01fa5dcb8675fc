"""Do strategies know what they recommend? Believed scores against the oracle's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How beliefs compare with the oracle.

    Attributes:
        believed: Studies with a belief and an oracle score.
        bias: Mean of believed less oracle score; above 0: too hopeful. NaN without any.
        error: Mean absolute difference.
        kendall: Rank correlation of the two over studies, NaN below three of them.
        intervals: Studies that gave an interval.
        coverage: Share of these whose interval holds the oracle score.
        low: Lower end of its 95 % Wilson interval.
        high: Upper end.
    """

    believed: int
    bias: float
    error: float
    kendall: float
    intervals: int
    coverage: float
    low: float
    high: float


def calibration(believed: Floats, low: Floats, high: Floats, oracle: Floats) -> Calibration:
    """Return the calibration of studies `(n,)`; NaN stands for what was not given."""
    known = np.isfinite(believed) & np.isfinite(oracle)
    d = believed[known] - oracle[known]
    ranged = np.isfinite(low) & np.isfinite(high) & np.isfinite(oracle)
    held = int(((low <= oracle) & (oracle <= high))[ranged].sum())
    n = int(ranged.sum())
    ends = proportion_confint(held, n, method="wilson") if n else (math.nan, math.nan)
    varied = len(d) >= 3 and np.ptp(believed[known]) > 0 and np.ptp(oracle[known]) > 0
    tau = float(stats.kendalltau(believed[known], oracle[known])[0]) if varied else math.nan
    return Calibration(
        believed=int(known.sum()),
        bias=float(d.mean()) if len(d) else math.nan,
        error=float(np.abs(d).mean()) if len(d) else math.nan,
        kendall=tau,
        intervals=n,
        coverage=held / n if n else math.nan,
        low=float(ends[0]),
        high=float(ends[1]),
    )
