"""Performance profiles: the share of runs that score at least so much, at every score.

Dolan and More 2002, with scores in place of time ratios as in Agarwal et al. 2021: no method's
curve depends on another's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs_bench.stats.bootstrap import LEVEL, resampling, task_weights

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Profile:
    """Shares `(n,)` of runs at or above each threshold, every task weighing the same."""

    thresholds: Floats
    share: Floats
    low: Floats
    high: Floats


def profile(values: Floats, counts: Sequence[int], thresholds: Floats) -> Profile:
    """Return the profile of runs `(sum(counts),)` that lie task after task."""
    above = (values[:, None] >= thresholds[None, :]).astype(np.float64)
    share = task_weights(counts) @ above
    if len(values) < 2:
        return Profile(thresholds, share, share, share)
    samples = resampling(tuple(counts)) @ above
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Profile(thresholds, share, low, high)
