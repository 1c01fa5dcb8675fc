"""How many trials are taken to the horizon before the search is left to itself, and why."""

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

FEWEST = 3
"""Full runs below which a falling error cannot be told from one that rests."""
_MOST_SHARE = 1 / 3  # of the budget for pilots
_CANDIDATES = 64  # uniform configurations on which information is counted, beside those tried
_MOST_ROUNDS = 128


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided, and from what.

    Attributes:
        wanted: Trials to take to the horizon in all.
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


def decide(problem: Problem, beliefs: Beliefs, steps: Sequence[int], short: int) -> Verdict:
    """Return how many pilots there should be.

    Pilots go on while one more lowers the bound by a larger share than the share of what is left of
    the budget that it takes, and up to a third of the budget. (The bound's own minimum says little:
    in spaces of this size the information gain is nearly linear in T, ``gamma_T / T`` does not
    fall, and the bound asks for pilots to the end.)

    Args:
        problem: With the budget.
        beliefs: At this moment.
        steps: Considered, ascending, ending at the horizon.
        short: Step of a short run.
    """
    runs = problem.budget.limit / problem.full_cost()
    most = max(1, int(runs * _MOST_SHARE))
    done = beliefs.at_horizon
    model = beliefs.model
    if most <= FEWEST or len(done) < FEWEST or model is None or short not in beliefs.rungs:
        wanted = min(FEWEST, most)
        return Verdict(wanted, f"{wanted} pilots: with fewer no error can be estimated")
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
    r = (model.y - model.state.mean[0]).numpy()
    norm = float(np.sqrt(max(r @ model.state.alpha[0].numpy().reshape(-1), 0.0)))
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
        why = f"more than {n} pilots: {told}"
    elif gain > price:
        why = f"{n} pilots, a third of the budget, although {told}"
    else:
        why = f"{n} pilots: {told}"
    return Verdict(wanted, why, split, errors, counts, tuple(measured), norm, tuple(gains.tolist()))
