"""How many trials are taken to the horizon for the predictor's sake, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import Problem
from jobs_bench_strategies.jobs.beliefs import Beliefs, histories
from jobs_bench_strategies.jobs.choice import choose
from jobs_bench_strategies.jobs.theory import (
    Errors,
    Split,
    best_split,
    information_gain,
    interpolated,
)

FIRST = 2
"""Pilots with which every study begins; the search decides about the next ones by their value."""
FEWEST = 5
"""Full runs below which a falling error cannot be told from one that rests."""
_MOST_SHARE = 1 / 3  # of the budget for pilots
_CANDIDATES = 64  # uniform configurations on which information is counted, beside those tried
_MOST_ROUNDS = 128


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided, and from what.

    Attributes:
        wanted: Trials to take to the horizon in all, whatever they promise.
        reason: One sentence.
        split: The bound, ``None`` while there is too little to compute it.
        errors: Of the predictor, in standard deviations of the score.
        counts: Full runs behind each measured error.
        measured: Leave-one-out errors, in standard deviations of the score.
        norm: ``b`` of the bound.
        gains: ``gamma_0, gamma_1, ...``.
    """

    wanted: int
    reason: str
    split: Split | None = None
    errors: Errors | None = None
    counts: tuple[int, ...] = ()
    measured: tuple[float, ...] = ()
    norm: float = 0.0
    gains: tuple[float, ...] = ()


def most_pilots(problem: Problem) -> int:
    """Return the full runs that a third of the budget pays for, at least 1."""
    return max(1, int(problem.budget.limit / problem.full_cost() * _MOST_SHARE))


class Pilots:
    """Decides how many pilots there should be.

    Two come first. Once the search has brought the full runs to five, so that the predictor's error
    can be estimated, pilots go on while one more lowers the bound by a larger share than the share
    of what is left of the budget that it takes, and up to `most_pilots`. (The bound's own minimum
    says little: in spaces of this size the information gain is nearly linear in T, ``gamma_T / T``
    does not fall, and the bound asks for pilots to the end.)

    Args:
        problem: With the budget.
        steps: Considered, ascending, ending at the horizon.
        short: Step of a short run.
    """

    def __init__(self, problem: Problem, steps: Sequence[int], short: int) -> None:
        self._problem = problem
        self._horizon = steps[-1]
        self._short = short
        self._early = [s for s in steps if s <= short]
        self._learnt: tuple[tuple[int, ...], tuple[float, ...]] = ((), ())

    def __call__(self, beliefs: Beliefs) -> Verdict:
        """Return what the beliefs ask for."""
        problem = self._problem
        most = most_pilots(problem)
        n = len(beliefs.at_horizon)
        model = beliefs.model
        if n < FEWEST or model is None or self._short not in beliefs.rungs:
            wanted = min(FIRST, most)
            return Verdict(
                wanted, f"{wanted} pilots: below {FEWEST} full runs no error can be estimated"
            )
        counts = tuple(range(2, n + 1))
        measured = tuple(error / model.scale.sd for error in self._errors(beliefs))
        errors = Errors.fit(counts, measured)
        norm = model.norm
        configs = [*(t.config for t in beliefs.trials), *self._pool]
        rows = beliefs.rows([(c, self._horizon) for c in configs])
        noise = max(model.noise, errors.at(n) ** 2, 1e-6)
        gains = information_gain(model.prior(rows), noise, _MOST_ROUNDS)
        full = problem.full_cost()
        small = problem.cost(problem.default, 0, self._short)
        split = best_split(problem.budget.limit, full, small, norm, errors, interpolated(gains))
        gain, price = split.gain(n), full / max(problem.budget.limit - n * full, full)
        wanted = min(n + 1, most) if gain > price else n
        told = (
            f"one more lowers the bound by {100 * max(gain, 0):.1f} % for {100 * price:.1f} % of "
            f"what is left (s0 = {errors.s0:.2f}, k = {errors.k:.2f} standard deviations, "
            f"b = {norm:.1f}; smallest at {split.N})"
        )
        if wanted > n:
            why = f"more pilots than {n} full runs: {told}"
        elif gain > price:
            why = f"no pilots beyond {n} full runs, a third of the budget, although {told}"
        else:
            why = f"no pilots beyond {n} full runs: {told}"
        return Verdict(wanted, why, split, errors, counts, measured, norm, tuple(gains.tolist()))

    def _errors(self, beliefs: Beliefs) -> tuple[float, ...]:
        """Return held-out errors of predictors fitted on the first 2, 3, ... full runs.

        Computed anew only when another trial is done.
        """
        done = beliefs.at_horizon
        ids = tuple(t.trial_id for t in done)
        if self._learnt[0] != ids:
            H, X = histories(done, self._early), beliefs.encoding.roots([t.config for t in done])
            y = beliefs.rungs[self._short].finals
            at = np.asarray([*self._early, self._horizon], dtype=np.float64)
            rungs = [choose(H[:n], X[:n], y[:n], at) for n in range(2, len(done) + 1)]
            found = [float(np.sqrt(((r.held_out - r.finals) ** 2).mean())) for r in rungs]
            self._learnt = (ids, tuple(found))
        return self._learnt[1]

    @cached_property
    def _pool(self) -> Sequence[Configuration]:
        if self._problem.candidates is not None:
            return self._problem.candidates[:_CANDIDATES]
        rng = np.random.default_rng(0)
        return [self._problem.space.sample(rng) for _ in range(_CANDIDATES)]
