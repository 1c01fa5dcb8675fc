"""What methods recommend as a mixture, and how that moves over the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs_bench.report.runs import Recommended, Run
from jobs_bench.report.standings import Leaderboard

Floats = NDArray[np.float64]

MAX_METHODS = 8
"""Methods of a task whose mixtures are drawn; the table of studies has all of them."""


@dataclass(frozen=True, slots=True)
class MixtureCourse:
    """The mean mixture that a method recommends on a task.

    Attributes:
        method: Label.
        grid: Full-run equivalents spent, `(n,)`; a single point where only the end is known.
        weights: Share of each domain, `(n,)`.
    """

    method: str
    grid: Floats
    weights: Mapping[str, Floats]


def courses(board: Leaderboard, task: str) -> tuple[list[MixtureCourse], list[str]]:
    """Return the mixtures of the best methods on a task, and the domains in a fixed order."""
    found = []
    names: dict[str, None] = {}
    for standing in board.standings[:MAX_METHODS]:
        course = _course(standing.method, [r for r in standing.runs if r.task == task], board)
        if course is not None:
            found.append(course)
            names |= dict.fromkeys(course.weights)
    return found, list(names)


def mixture(config: Mapping[str, object]) -> dict[str, float]:
    """Return the shares of a configuration; of several mixtures each goes by ``axis.domain``."""
    axes = {k: v for k, v in config.items() if isinstance(v, Mapping)}
    shares = {}
    for axis, weights in axes.items():
        for domain, weight in weights.items():
            shares[domain if len(axes) == 1 else f"{axis}.{domain}"] = float(weight)
    return shares


def _course(method: str, runs: Sequence[Run], board: Leaderboard) -> MixtureCourse | None:
    histories = [r.history for r in runs if r.history and mixture(r.history[-1].config)]
    if not histories:
        return None
    start = max(h[0].spent for h in histories)
    moving = all(len(h) > 1 for h in histories) and start < board.budget
    grid = np.linspace(start, board.budget, 41) if moving else np.array([board.budget])
    domains = dict.fromkeys(d for h in histories for d in mixture(h[-1].config))
    shares = np.array([_shares(h, grid, list(domains)) for h in histories]).mean(axis=0)
    return MixtureCourse(method, grid, {d: shares[:, i] for i, d in enumerate(domains)})


def _shares(history: Sequence[Recommended], grid: Floats, domains: Sequence[str]) -> Floats:
    """Return shares `(grid, domains)`, those of the newest recommendation at each point."""
    index = np.searchsorted([r.spent for r in history], grid, side="right") - 1
    table = np.array([[mixture(r.config).get(d, 0.0) for d in domains] for r in history])
    return np.asarray(table[np.maximum(index, 0)])
