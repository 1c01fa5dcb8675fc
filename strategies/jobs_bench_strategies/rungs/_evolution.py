"""DEHB's differential evolution: new configurations from differences of good ones."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import AskContext, Problem
from jobs_bench.strategy.history import TrialRecord
from jobs_bench_strategies._drawing import nearest, untried
from jobs_bench_strategies.rungs._core import ranked
from jobs_bench_strategies.rungs._sampling import Pick, uniform

_PARENTS = 3


class Evolution:
    """Crosses a member of the rung's population with a mutant of better ones.

    Reference: Awad et al. 2021 (IJCAI), section 3: mutation rand/1 and binomial crossover in
    the unit cube, coordinates outside it drawn anew; the population of a rung is the best
    `size` trials that reached it; the mutant's parents are the best trials of the next
    lower rung, of the rung itself where it is the lowest. What differs: an offspring competes by
    the rung rule (Hyperband promotes and resumes) instead of replacing its parent at the
    same rung, so no configuration is trained twice; members are targets in turn.

    Args:
        size: Largest population of a rung.
        factor: Weight of the difference, ``(0, 1]``.
        crossover: Chance that a coordinate comes from the mutant, ``[0, 1]``.
    """

    def __init__(self, *, size: int = 20, factor: float = 0.5, crossover: float = 0.5) -> None:
        self.size = size
        self.factor = factor
        self.crossover = crossover

    def __call__(
        self, problem: Problem, ctx: AskContext, taken: Collection[Configuration], until: int
    ) -> Pick | None:
        """Return an offspring; a uniform draw while the population is too small."""
        trials = list(ctx.history)
        population = ranked(trials, until)[: self.size]
        lower = [s for s in problem.fidelity.steps if s < until and len(ranked(trials, s))]
        parents = ranked(trials, lower[-1])[: self.size] if lower else population
        if len(parents) < _PARENTS:
            parents = population
        if len(parents) < _PARENTS or not population:
            return uniform(problem, ctx, taken, until)
        target = population[len(trials) % len(population)]
        unit = self._offspring(problem, ctx.rng, target, parents)
        config = problem.space.decode(unit.tolist())
        if problem.candidates is None:
            return Pick(config)
        left = untried(problem, taken)
        return Pick(nearest(problem.space, config, left)) if left else None

    def _offspring(
        self,
        problem: Problem,
        rng: np.random.Generator,
        target: TrialRecord,
        parents: Sequence[TrialRecord],
    ) -> np.ndarray:
        chosen = rng.choice(len(parents), size=_PARENTS, replace=False)
        a, b, c = (problem.space.encode(parents[int(i)].config) for i in chosen)
        mutant = a + self.factor * (b - c)
        outside = (mutant < 0) | (mutant > 1)
        mutant = np.where(outside, rng.random(len(mutant)), mutant)
        crossed = rng.random(len(mutant)) < self.crossover
        crossed[int(rng.integers(len(mutant)))] = True
        return np.where(crossed, mutant, problem.space.encode(target.config))
