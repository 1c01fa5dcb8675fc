"""Picking the allowed configuration with the highest acquisition value.

Of a finite pool all members are scored in one call. Elsewhere the engine searches its landscape;
what it finds is realised (rounded, floored, capped) and scored again as it would be trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.strategy.contract import Problem
from jobs_bench_strategies._quiet import quiet
from jobs_bench_strategies._surrogate import Landscape

Allowed = Callable[[Configuration], bool]


def maximise(
    landscape: Landscape,
    problem: Problem,
    seed: int,
    anchors: Sequence[Configuration],
    allowed: Allowed,
) -> Configuration | None:
    """Return the allowed configuration with the highest acquisition value found.

    Args:
        landscape: Over the rows of the space's native encoding.
        problem: Its candidates, where given, are all scored.
        seed: Of the search.
        anchors: Good configurations to search around.
        allowed: Says which configurations may be proposed (not tried yet, affordable).
    """
    return next(iter(best_few(landscape, problem, seed, anchors, allowed, 1)), None)


def best_few(
    landscape: Landscape,
    problem: Problem,
    seed: int,
    anchors: Sequence[Configuration],
    allowed: Allowed,
    most: int,
) -> list[Configuration]:
    """Return up to `most` allowed configurations with high acquisition values, highest first.

    Of an open space they are local optima; arguments as for `maximise`.
    """
    encoding = NativeEncoding(problem.space)
    with quiet(seed % 2**31):
        if problem.candidates is not None:
            return _best(landscape, encoding, problem.candidates, allowed, most)
        # raw points stand in where every local optimum is forbidden
        for rows in landscape.search(encoding.encode_all(anchors), seed):
            found = _best(landscape, encoding, map(encoding.decode, rows), allowed, most)
            if found:
                return found
        return []


def _best(
    landscape: Landscape,
    encoding: NativeEncoding,
    configs: Iterable[Configuration],
    allowed: Allowed,
    most: int,
) -> list[Configuration]:
    ordered = [c for c in dict.fromkeys(configs) if allowed(c)]
    if not ordered:
        return []
    order = np.argsort(-landscape.values(encoding.encode_all(ordered)), kind="stable")
    return [ordered[i] for i in order[:most]]
