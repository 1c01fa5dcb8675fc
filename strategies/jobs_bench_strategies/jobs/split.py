"""How many trials are taken to the horizon for the predictor's sake, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


def decide(problem: Problem, beliefs: Beliefs, steps: Sequence[int], short: int) -> Verdict:
    """Return how many pilots there should be.

    Two come first. Once the search has brought the full runs to five, so that the predictor's error
    can be estimated, pilots go on while one more lowers the bound by a larger share than the share
    of what is left of the budget that it takes, and up to `most_pilots`. (The bound's own minimum
    says little: in spaces of this size the information gain is nearly linear in T, ``gamma_T / T``
    does not fall, and the bound asks for pilots to the end.)

    Args:
        problem: With the budget.
        beliefs: At this moment.
        steps: Considered, ascending, ending at the horizon.
        short: Step of a short run.
    """
    most = most_pilots(problem)
    done = beliefs.at_horizon
    model = beliefs.model
    if len(done) < FEWEST or model is None or short not in beliefs.rungs:
        wanted = min(FIRST, most)
        return Verdict(
            wanted, f"{wanted} pilots: below {FEWEST} full runs no error can be estimated"
        )
    early = [s for s in steps if s <= short]
    H, X = histories(done, early), beliefs.encoding.roots([t.config for t in done])
    y = beliefs.rungs[short].finals
    at = np.asarray([*early, steps[-1]], dtype=np.float64)
    counts = tuple(range(2, len(done) + 1))
    unit = model.scale.sd
    measured = []
    for n in counts:
        rung = choose(H[:n], X[:n], y[:n], at)
        measured.append(float(np.sqrt(((rung.held_out - y[:n]) ** 2).mean())) / unit)
    errors = Errors.fit(counts, measured)
    norm = model.norm
    rng = np.random.default_rng(0)
    pool = problem.candidates or [problem.space.sample(rng) for _ in range(_CANDIDATES)]
    configs = [*(t.config for t in beliefs.trials), *pool[:_CANDIDATES]]
    rows = beliefs.rows([(c, steps[-1]) for c in configs])
    noise = max(model.noise, errors.at(len(done)) ** 2, 1e-6)
    gains = information_gain(model.prior(rows), noise, _MOST_ROUNDS)
    full = problem.full_cost()
    small = problem.cost(problem.default, 0, short)
    split = best_split(problem.budget.limit, full, small, norm, errors, interpolated(gains))
    n = len(done)
    gain, price = split.gain(n), full / max(problem.budget.limit - n * full, full)
    wanted = min(n + 1, most) if gain > price else n
    told = (
        f"one more lowers the bound by {100 * max(gain, 0):.1f} % for {100 * price:.1f} % of what "
        f"is left (s0 = {errors.s0:.2f}, k = {errors.k:.2f} standard deviations, b = {norm:.1f}; "
        f"smallest at {split.N})"
    )
    if wanted > n:
        why = f"more pilots than {n} full runs: {told}"
    elif gain > price:
        why = f"no pilots beyond {n} full runs, a third of the budget, although {told}"
    else:
        why = f"no pilots beyond {n} full runs: {told}"
    return Verdict(wanted, why, split, errors, counts, tuple(measured), norm, tuple(gains.tolist()))
