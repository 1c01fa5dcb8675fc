"""Two methods against each other, run by run: same task, same seed, same budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs_bench.stats.bootstrap import Estimate, mean_estimate, task_weights

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pairing:
    """What a paired comparison of A with B finds.

    Attributes:
        pairs: Runs that both have.
        tasks: Tasks that these are on.
        difference: Mean of A - B: over seeds, then over tasks.
        improvement: Probability that A beats B in a pair; a pair within its noise floor counts
            one half.
        noise: Noise floor of a run, mean over tasks, in the unit of the scores.
        verdict: In words.
    """

    pairs: int
    tasks: int
    difference: Estimate
    improvement: Estimate
    noise: float
    verdict: str


def pairing(a: Floats, b: Floats, noise: Floats, counts: Sequence[int]) -> Pairing:
    """Return the comparison of paired scores, each `(sum(counts),)`, task after task.

    Args:
        a: Scores of A.
        b: Scores of B, on the same tasks with the same seeds.
        noise: Noise floor of each pair.
        counts: Pairs of each task.
    """
    d = a - b
    wins = np.where(np.abs(d) <= noise, 0.5, (d > 0).astype(np.float64))
    difference = mean_estimate(d, counts)
    floor = float(task_weights(counts) @ noise)
    return Pairing(
        pairs=len(d),
        tasks=len(counts),
        difference=difference,
        improvement=mean_estimate(wins, counts),
        noise=floor,
        verdict=verdict(difference, floor, len(d)),
    )


def verdict(difference: Estimate, noise: float, pairs: int) -> str:
    """Return ``A is better``, ``B is better``, ``tie``, ``not separated`` or ``too few``.

    Better: the interval leaves out 0 and the difference is above the noise floor. Tie: the
    difference is within the noise floor, and the interval either lies there whole or leaves out 0.
    """
    if abs(difference.value) <= noise and difference.low == difference.high == difference.value:
        return "tie"  # every pair differs by the same, within the noise
    if pairs < 2:
        return "too few"
    apart = difference.low > 0 or difference.high < 0
    if abs(difference.value) <= noise:
        within = -noise <= difference.low and difference.high <= noise
        return "tie" if within or apart else "not separated"
    if not apart:
        return "not separated"
    return "A is better" if difference.value > 0 else "B is better"
