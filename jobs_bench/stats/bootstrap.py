"""Interquartile means with intervals from a hierarchical bootstrap: tasks, then seeds in them.

Agarwal et al. 2021 (arXiv 2108.13264) for the interquartile mean; tasks are drawn as well because
the claim is about tasks like these. The draws depend on the number of seeds of each task alone, not
on scores, names or other methods: two methods with the same scores have the same interval, and a
method's interval is the same whoever else is in the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
SEED = 20260208

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval; the ends are NaN where there is nothing to resample."""

    value: float
    low: float
    high: float


def task_weights(counts: Sequence[int]) -> Floats:
    """Return the weight of each run, `(sum(counts),)`: every task weighs the same."""
    return np.concatenate([np.full(n, 1.0 / (len(counts) * n)) for n in counts])


@lru_cache(maxsize=16)
def resampling(counts: tuple[int, ...], resamples: int = RESAMPLES) -> Floats:
    """Return weights of runs in each resample, `(resamples, sum(counts))`; rows sum to 1.

    Args:
        counts: Runs of each task, each at least 1; runs lie task after task.
        resamples: How many times to draw.
    """
    n_tasks, total = len(counts), sum(counts)
    n = np.array(counts)
    first = np.concatenate([[0], np.cumsum(n)[:-1]])
    rng = np.random.default_rng([SEED, n_tasks, total])
    weights = np.zeros((resamples, total))
    rows = np.arange(resamples)
    for _ in range(n_tasks):
        task = rng.integers(n_tasks, size=resamples)
        draws = rng.random((resamples, int(n.max())))
        for j in range(int(n.max())):
            held = j < n[task]
            run = first[task] + np.minimum((draws[:, j] * n[task]).astype(np.int64), n[task] - 1)
            share = 1.0 / (n_tasks * n[task])
            np.add.at(weights, (rows[held], run[held]), share[held])
    weights.flags.writeable = False
    return weights


def iqm(values: Floats, weights: Floats) -> Floats:
    """Return the mean of the middle half of the weighted values, one for each row of `weights`.

    A run that straddles a quartile counts with the part of its weight that lies inside.

    Args:
        values: `(n,)`, finite.
        weights: `(n,)` or `(rows, n)`, rows summing to 1.
    """
    order = np.argsort(values, kind="stable")
    held = np.atleast_2d(weights)[:, order]
    upper = np.cumsum(held, axis=1)
    inside = np.clip(upper, 0.25, 0.75) - np.clip(upper - held, 0.25, 0.75)
    return np.asarray((inside @ values[order]) / inside.sum(axis=1))


def mean(values: Floats, weights: Floats) -> Floats:
    """Return the weighted mean of `values`, one for each row of `weights`."""
    return np.atleast_2d(weights) @ values


def iqm_estimate(values: Floats, counts: Sequence[int]) -> Estimate:
    """Return the interquartile mean of runs `(sum(counts),)` that lie task after task."""
    point = float(iqm(values, task_weights(counts))[0])
    return Estimate(point, *_ends(iqm, values, counts))


def mean_estimate(values: Floats, counts: Sequence[int]) -> Estimate:
    """Return the mean over tasks of the means over seeds; see `iqm_estimate`."""
    point = float(mean(values, task_weights(counts))[0])
    return Estimate(point, *_ends(mean, values, counts))


def interval(samples: Floats) -> tuple[float, float]:
    """Return the 2.5 % and 97.5 % quantiles of bootstrap samples `(resamples,)`."""
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _ends(
    statistic: Callable[[Floats, Floats], Floats], values: Floats, counts: Sequence[int]
) -> tuple[float, float]:
    if sum(counts) < 2:
        return math.nan, math.nan
    return interval(statistic(values, resampling(tuple(counts))))
