"""Segments that could be run next, with their costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import Problem


@dataclass(frozen=True, slots=True)
class Offer:
    """A segment that could be run.

    Attributes:
        config: Of a new trial or of the one that goes on.
        start: Where the trial stands, 0 for a new one.
        until: Where the segment goes.
        cost: Of the segment.
        rest: Of going on from there to the horizon, 0 at the horizon.
        trial_id: The trial that goes on, ``None`` for a new one.
    """

    config: Configuration
    start: int
    until: int
    cost: float
    rest: float
    trial_id: int | None = None


def ways(
    problem: Problem,
    steps: Sequence[int],
    config: Configuration,
    start: int,
    trial_id: int | None = None,
) -> list[Offer]:
    """Return the segments from `start` to each later one of `steps`, the horizon last."""
    cost = problem.cost
    return [
        Offer(
            config,
            start,
            until,
            cost(config, start, until),
            cost(config, until, steps[-1]) if until < steps[-1] else 0.0,
            trial_id,
        )
        for until in steps
        if until > start
    ]
