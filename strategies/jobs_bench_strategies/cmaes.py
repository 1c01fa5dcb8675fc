"""CMA-ES with margin, in the unit cube."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.space.axes import Categorical, Int, Subset
from jobs_bench.space.space import Space
from jobs_bench.strategy.contract import AskContext, Problem, StrategyInfo
from jobs_bench.strategy.history import TrialRecord
from jobs_bench.trial import Note, Proposal, Start, Wait
from jobs_bench_strategies._drawing import nearest, tried, untried
from jobs_bench_strategies._extra import wrapped
from jobs_bench_strategies._observing import Observing, finite_score
from jobs_bench_strategies._spending import Purse, end

_CODE = "cma"
_GENERATION = "generation"


class Cmaes(Observing):
    """The package cmaes' `CMAwM` on the unit cube of the space; every trial is a full run.

    Reference: Hansen and Ostermeier 2001; Hamano et al. 2022 (GECCO) for the margin that keeps
    categories, flags and integers alive. Mixtures enter through the uniform bijection of the cube
    to the simplex. The search starts at the default recipe. Each proposal's note holds the point
    and its generation, and the state is rebuilt from the notes at every ask, so that a study
    resumes where it was. A generation is told when all of it is over; failed trials are its
    worst. On a pool the nearest untried candidate is trained for a point. Cost of an ask:
    milliseconds times the generations. Needs the extra ``cmaes``.

    Args:
        population: Trials a generation, at least 4, or 0 for ``4 + 3 log d``.
        sigma: First step size in the unit cube, above 0.
    """

    info = StrategyInfo(
        "cmaes",
        "CMA-ES with margin at the horizon",
        reference="Hansen and Ostermeier 2001; Hamano et al. 2022, GECCO",
    )

    def __init__(self, *, population: int = 0, sigma: float = 0.25) -> None:
        if population != 0 and population < 4:
            raise OptionError(f"got population={population}; wanted 4 or more, or 0 to derive it")
        if not (math.isfinite(sigma) and sigma > 0):
            raise OptionError(f"got sigma={sigma}; wanted a number above 0")
        super().__init__()
        self.population = population
        self.sigma = sigma
        self._package = wrapped("cmaes", "cmaes")

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: A space of fewer than two coordinates, where there is no covariance.
        """
        super().setup(problem)
        d = problem.space.n_unit
        if d < 2:
            raise CapabilityError(
                f"cmaes needs a space of at least 2 coordinates; this one has {d} "
                f"({', '.join(problem.space.names)})"
            )
        self._size = self.population or 4 + int(3 * math.log(d))

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return up to `n` full runs of the present generation."""
        horizon = self.problem.fidelity.horizon
        generations = _generations(ctx)
        cma = self._replay(generations[:-1])
        present = generations[-1]
        if len(present) >= self._size:
            if any(t.until is not None for t in present):
                return [Wait()]
            self._tell(cma, present)
            generations.append([])
            present = []
        cma.reseed_rng(ctx.torch_seed % 2**32)
        purse = Purse(self.problem, ctx)
        taken = tried(ctx.history)
        work: list[Proposal] = []
        for _ in range(min(n, self._size - len(present))):
            point, code = cma.ask()
            config = self.problem.space.decode(np.clip(point, 0.0, 1.0).tolist())
            if self.problem.candidates is not None:
                left = untried(self.problem, taken)
                if not left:
                    break
                config = nearest(self.problem.space, config, left)
            if not purse.take(config, 0, horizon):
                break
            taken.add(config)
            note: Note = {_GENERATION: len(generations) - 1, _CODE: [float(x) for x in code]}
            work.append(Start(config, horizon, note))
        return work or [end(ctx)]

    def _replay(self, generations: Sequence[Sequence[TrialRecord]]) -> Any:
        bounds, steps = grid(self.problem.space)
        start = np.clip(self.problem.space.encode(self.problem.default), bounds[:, 0], bounds[:, 1])
        cma = self._package.CMAwM(
            mean=start, sigma=self.sigma, bounds=bounds, steps=steps, population_size=self._size
        )
        for trials in generations:
            self._tell(cma, trials)
        return cma

    def _tell(self, cma: Any, trials: Sequence[TrialRecord]) -> None:
        """Tell a whole generation; one without any score says nothing and is passed over."""
        scores = [finite_score(t, self.problem.fidelity.horizon) for t in trials]
        known = [s for s in scores if s is not None]
        if known:
            losses = [-(min(known) if s is None else s) for s in scores]
            codes = [np.asarray(t.notes[0][_CODE], dtype=np.float64) for t in trials]
            cma.tell(list(zip(codes, losses, strict=True)))


def grid(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(d, 2)`` bounds and ``(d,)`` steps of the unit coordinates, 0 for continuous ones.

    Names and integers on a linear axis stand in the middle of their share of the unit interval.
    """
    bounds: list[tuple[float, float]] = []
    steps: list[float] = []
    for axis in space.axes:
        levels = 0
        if isinstance(axis, Categorical):
            levels = len(axis.choices)
        elif isinstance(axis, Subset):
            levels = 2
        elif isinstance(axis, Int) and not axis.log:
            levels = axis.high - axis.low + 1
        margin = 0.5 / levels if levels > 1 else 0.0
        bounds += [(margin, 1 - margin)] * axis.n_unit
        steps += [1 / levels if levels > 1 else 0.0] * axis.n_unit
    return np.asarray(bounds), np.asarray(steps)


def _generations(ctx: AskContext) -> list[list[TrialRecord]]:
    """Return the trials of each generation, the present one last."""
    found: list[list[TrialRecord]] = [[]]
    for trial in ctx.history:
        number = trial.notes[0].get(_GENERATION) if trial.notes else None
        if isinstance(number, int):
            while len(found) <= number:
                found.append([])
            found[number].append(trial)
    return found
