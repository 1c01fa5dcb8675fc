"""Which configurations a recording visits: a Sobol sequence, every second mixture made sparse.

Configuration 0 is the default recipe. A uniform draw on a simplex of nine domains hardly ever comes
near an edge, where the best mixtures often lie and where optimisers look: the mixture of every odd
configuration is therefore drawn over one to four domains only. Every prefix of the design is spread
over the whole space.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from scipy.stats import qmc

from jobs_bench.errors import OptionError
from jobs_bench.space.configuration import AxisValue, Configuration, Mixture
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Space

SPARSE: Final = 4
PARTS: Final = ("dev", "dev", "test")


def design(space: Space, n: int, seed: int) -> list[Configuration]:
    """Return `n` configurations; those of a smaller `n` come first.

    Args:
        space: What to cover.
        n: At least 1.
        seed: Of the scrambling and the sparse mixtures.

    Raises:
        OptionError: `n` below 1.
    """
    if n < 1:
        raise OptionError(f"got {n} configurations; wanted at least 1")
    found = dict.fromkeys([space.default()])
    sobol = qmc.Sobol(space.n_unit, scramble=True, rng=np.random.default_rng([seed, 0]))
    with_block = iter(_points(sobol))
    index = 1
    while len(found) < n:
        config = space.decode(next(with_block).tolist())
        if index % 2:
            config = _sparse(space, config, np.random.default_rng([seed, 1, index]))
        found.setdefault(config)
        index += 1
    return list(found)


def part_of(index: int) -> str:
    """Return the part of a configuration: one third is ``test``, never used to tune a default."""
    return PARTS[index % len(PARTS)]


def _points(sobol: qmc.Sobol) -> Iterator[np.ndarray]:
    while True:
        yield from sobol.random(64)


def _sparse(space: Space, config: Configuration, rng: np.random.Generator) -> Configuration:
    changed: dict[str, AxisValue] = {}
    for axis in space.axes:
        if isinstance(axis, Simplex) and axis.name in config:
            most = min(SPARSE, len(axis.domains))
            chosen = rng.choice(
                len(axis.domains), size=int(rng.integers(1, most + 1)), replace=False
            )
            weights = np.zeros(len(axis.domains))
            weights[chosen] = rng.dirichlet(np.ones(len(chosen)))
            drawn = Mixture.normalised(dict(zip(axis.domains, weights.tolist(), strict=True)))
            changed[axis.name] = axis.realise(drawn)
    return config.with_(changed)
