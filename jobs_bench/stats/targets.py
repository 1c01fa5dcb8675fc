"""Time to a target when some runs never get there: censored, not dropped.

Kaplan and Meier 1958 for the median (statsmodels); the expected running time of Hansen et al. 2010
(COCO) for the mean cost of a success.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from statsmodels.duration.survfunc import SurvfuncRight

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TimeToTarget:
    """How much it takes to reach a target, in full-run equivalents.

    Attributes:
        runs: All of them.
        reached: Those that got there.
        median: Kaplan-Meier median: the first time by which at least half are estimated to be
            there; infinite where fewer ever are.
        low: Lower end of its 95 % interval, NaN when unknown.
        high: Upper end, infinite when unbounded.
        expected: Expected running time: all that was spent before success or in vain, divided by
            the number of successes; infinite without any.
    """

    runs: int
    reached: int
    median: float
    low: float
    high: float
    expected: float


def time_to_target(times: Floats, censored_at: Floats) -> TimeToTarget:
    """Return the summary of runs.

    Args:
        times: What each run had spent when it reached the target, infinite where never, `(runs,)`.
        censored_at: What each run could spend at most (its budget), `(runs,)`.
    """
    reached = times <= censored_at
    observed = np.where(reached, times, censored_at)
    n = int(reached.sum())
    expected = float(observed.sum()) / n if n else math.inf
    if not n:
        return TimeToTarget(len(times), 0, math.inf, math.nan, math.inf, expected)
    # a run that starts at its target has a time of 0, which survival times may not be
    curve = SurvfuncRight(np.maximum(observed, 1e-12), reached.astype(int))
    half = np.flatnonzero(curve.surv_prob <= 0.5 + 1e-12)
    median = float(curve.surv_times[half[0]]) if len(half) else math.inf
    with np.errstate(divide="ignore", invalid="ignore"):  # log(-log(0)) where nobody is left
        low, high = (float(x) for x in curve.quantile_ci(0.5))
    return TimeToTarget(
        runs=len(times),
        reached=n,
        median=_zero(median),
        low=_zero(low),
        high=_zero(high),
        expected=expected,
    )


def _zero(value: float) -> float:
    return 0.0 if value <= 1e-12 else value
