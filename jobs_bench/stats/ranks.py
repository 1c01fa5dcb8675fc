"""Ranks on each task, ties within the noise floor, and mean ranks with intervals.

A rank is the one number here that depends on who else takes part; scores and intervals do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from jobs_bench.stats.bootstrap import SEED, Estimate, interval

RANK_RESAMPLES = 1000

Floats = NDArray[np.float64]


def tied_ranks(scores: Floats, noise: Floats) -> Floats:
    """Return ranks along the last axis, 1 for the highest score; ties share their mean rank.

    Methods are grouped from the best down: a group takes in everyone whose score is within the
    noise floor of the group's best, then the next group begins.

    Args:
        scores: `(..., methods)`, finite.
        noise: Noise floor, `(...)` or a scalar.
    """
    order = np.argsort(-scores, axis=-1, kind="stable")
    ordered = np.take_along_axis(scores, order, axis=-1)
    floor = np.broadcast_to(np.asarray(noise, dtype=np.float64), scores.shape[:-1])
    n = scores.shape[-1]
    group = np.zeros(scores.shape, dtype=np.int64)
    best = ordered[..., 0]
    for k in range(1, n):
        opens = best - ordered[..., k] > floor
        group[..., k] = group[..., k - 1] + opens
        best = np.where(opens, ordered[..., k], best)
    same = group[..., :, None] == group[..., None, :]
    position = np.arange(1, n + 1, dtype=np.float64)
    shared = (same * position).sum(axis=-1) / same.sum(axis=-1)
    ranks = np.empty(scores.shape)
    np.put_along_axis(ranks, order, shared, axis=-1)
    return ranks


def mean_ranks(
    runs: Sequence[Mapping[str, Floats]], noise: Sequence[float], methods: Sequence[str]
) -> dict[str, Estimate]:
    """Return the mean rank of each method over tasks, with a 95 % interval.

    A method's score on a task is its mean over seeds. The bootstrap draws tasks (the same for all
    methods), then the seeds of each method on each drawn task.

    Args:
        runs: For each task the scores of each method, `(seeds,)`.
        noise: Noise floor of each task, in the unit of the scores.
        methods: Who is ranked; each must be in every task.
    """
    floors = np.asarray(noise, dtype=np.float64)
    means = np.array([[task[m].mean() for m in methods] for task in runs])
    ranks = tied_ranks(means, floors).mean(axis=0)
    rng = np.random.default_rng([SEED, len(runs), 1])
    drawn = rng.integers(len(runs), size=(RANK_RESAMPLES, len(runs)))
    samples = np.empty((RANK_RESAMPLES, len(runs), len(methods)))
    for t, task in enumerate(runs):
        draws = rng.random((RANK_RESAMPLES, max(len(v) for v in task.values())))
        for m, method in enumerate(methods):
            values = task[method]
            chosen = (draws[:, : len(values)] * len(values)).astype(np.int64)
            samples[:, t, m] = values[chosen].mean(axis=1)
    per_task = tied_ranks(samples, np.broadcast_to(floors, samples.shape[:-1]))
    resampled = np.take_along_axis(per_task, drawn[..., None], axis=1).mean(axis=1)
    return {
        method: Estimate(float(ranks[m]), *interval(resampled[:, m]))
        for m, method in enumerate(methods)
    }
