"""Where new configurations come from without a model: uniform draws, Sobol points, the finite pool.

All functions are pure: the generator or the seed is passed in. On a pool task
(`problem.candidates`) they return candidates that are not in `taken`, and ``None`` when the pool is
used up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
from scipy.stats import qmc

from jobs_bench.space.configuration import Configuration
from jobs_bench.space.native import NativeEncoding
from jobs_bench.space.space import Space
from jobs_bench.strategy.contract import AskContext, Problem
from jobs_bench.strategy.history import TrialRecord

SOBOL_SEED = "sobol_seed"


def tried(trials: Iterable[TrialRecord]) -> set[Configuration]:
    """Return the configurations of `trials`."""
    return {t.config for t in trials}


def untried(problem: Problem, taken: Collection[Configuration]) -> list[Configuration]:
    """Return the candidates of a pool task that are not in `taken`, in the pool's order."""
    left = dict.fromkeys(problem.candidates or ())  # a pool may list a configuration twice
    return [c for c in left if c not in taken]


def draw(
    problem: Problem, rng: np.random.Generator, taken: Collection[Configuration]
) -> Configuration | None:
    """Return a uniform draw."""
    if problem.candidates is None:
        return problem.space.sample(rng)
    left = untried(problem, taken)
    return left[int(rng.integers(len(left)))] if left else None


def sobol(
    problem: Problem, seed: int, index: int, taken: Collection[Configuration]
) -> Configuration | None:
    """Return point `index` of the scrambled Sobol sequence, on a pool the one nearest to it."""
    if problem.candidates is None:
        return problem.space.decode(sobol_unit(problem.space, seed, index))
    left = untried(problem, taken)
    if not left:
        return None
    u = sobol_unit(problem.space, seed, index)
    return nearest(problem.space, problem.space.decode(u), left)


def sobol_unit(space: Space, seed: int, index: int) -> list[float]:
    """Return ``(n_unit,)`` coordinates of point `index`."""
    if space.n_unit == 0:
        return []
    # scipy 1.17 takes `rng`, 1.14 took `seed`: by position only `d` goes, so the name is needed
    engine = qmc.Sobol(space.n_unit, scramble=True, rng=np.random.default_rng(seed))
    if index:
        engine.fast_forward(index)
    return [float(x) for x in engine.random(1)[0]]


def sobol_seed(ctx: AskContext) -> int:
    """Return the study's scramble seed: recorded in a note, or new from the context.

    A seed derived from this ask would scramble every point anew, which is random search.
    """
    for trial in ctx.history:
        for note in trial.notes:
            seed = note.get(SOBOL_SEED)
            if isinstance(seed, int):
                return seed
    return ctx.torch_seed % 2**31


def nearest(space: Space, config: Configuration, among: Sequence[Configuration]) -> Configuration:
    """Return the member of `among`, not empty, closest to `config` in Hellinger coordinates."""
    encoding = NativeEncoding(space)
    at = encoding.hellinger(encoding.encode(config))
    rows = encoding.hellinger(encoding.encode_all(among))
    # a category's index has no distance: count it as different or not
    gaps = rows - at
    for i in encoding.of_kind("category"):
        gaps[:, i] = gaps[:, i] != 0
    return among[int(np.argmin((gaps**2).sum(axis=1)))]
