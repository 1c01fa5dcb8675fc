"""Picking the allowed configuration with the highest acquisition value.

Of a finite pool all members are scored in one call. Elsewhere raw configurations (Sobol points and
perturbations of good ones) are scored in one call and the best are improved by the engine's own
search. Whatever comes out is realised (rounded, floored, capped) and scored again as it would be
trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.stats import qmc

from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.strategy.contract import Problem
from jobs_bench_strategies._quiet import quiet
from jobs_bench_strategies._surrogate import Landscape

_RAW_POWER = 8  # 2**8 Sobol points
_PERTURBED = 96

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
        seed: Of the raw configurations.
        anchors: Good configurations to search around.
        allowed: Says which configurations may be proposed (not tried yet, affordable).
    """
    encoding = NativeEncoding(problem.space)
    with quiet(seed % 2**31):
        if problem.candidates is not None:
            return _best(landscape, encoding, problem.candidates, allowed)
        raw = _raw(encoding, np.random.default_rng(seed), anchors)
        rows = encoding.encode_all(raw)
        found = landscape.improve(rows, landscape.values(rows))
        improved = _best(landscape, encoding, (encoding.decode(row) for row in found), allowed)
        # raw points stand in where every improved one is forbidden
        return improved or _best(landscape, encoding, raw, allowed)


def _best(
    landscape: Landscape,
    encoding: NativeEncoding,
    configs: Iterable[Configuration],
    allowed: Allowed,
) -> Configuration | None:
    ordered = [c for c in dict.fromkeys(configs) if allowed(c)]
    if not ordered:
        return None
    return ordered[int(np.argmax(landscape.values(encoding.encode_all(ordered))))]


def _raw(
    encoding: NativeEncoding, rng: np.random.Generator, anchors: Sequence[Configuration]
) -> list[Configuration]:
    space = encoding.space
    points = qmc.Sobol(space.n_unit, rng=rng).random_base2(_RAW_POWER)
    raw = [space.decode(u.tolist()) for u in points]
    for i in range(_PERTURBED if anchors else 0):
        raw.append(_perturb(encoding, rng, anchors[i % len(anchors)]))
    return list(dict.fromkeys(raw))


def _perturb(
    encoding: NativeEncoding, rng: np.random.Generator, config: Configuration
) -> Configuration:
    row = encoding.encode(config)
    moved = rng.random(len(row)) < max(0.3, 2 / len(row))
    scale = 10 ** rng.uniform(-2, -0.5)
    for i, column in enumerate(encoding.columns):
        if column.kind == "weight":
            row[i] = (np.sqrt(row[i]) + scale * rng.normal()) ** 2
        elif moved[i] and column.kind in ("float", "int"):
            row[i] = np.clip(row[i] + scale * rng.normal(), 0.0, 1.0)
        elif moved[i]:
            row[i] = rng.choice(column.levels)
    return encoding.decode(row)
