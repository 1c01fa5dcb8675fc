"""PASHA: ASHA whose top rung grows only while it still changes the ranking."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from jobs_bench.strategy.contract import StrategyFactory, StrategyInfo
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench_strategies.rungs._core import ranked
from jobs_bench_strategies.rungs.asha import Asha

_FIRST_TOP = 1
_NOISE_QUANTILE = 0.9


class Pasha(Asha):
    """Promotion-type ASHA with a top rung that is raised while the two highest rungs disagree.

    Reference: Bohdal et al. 2023 (ICLR), algorithm 1 with soft ranking. Trials may climb to
    the second rung at first; whenever the order on the top rung is not the (soft) order that
    the same trials had one rung below, the next rung is opened. Two scores are tied when they
    differ by less than the noise, measured as the 90th percentile of the gaps between trials
    whose curves cross at least twice. What differs: what `Asha` differs in; and a rung once
    entered stays open. The recommendation may thus never have been trained to the horizon.

    Args:
        eta: One in `eta` trials goes on, above 1.
        min_rung: Lowest rung to use, from 0.
        sampler: As in `Asha`.
    """

    info = StrategyInfo(
        "pasha",
        "ASHA that opens a longer rung only while rankings still change",
        needs=frozenset({"resume"}),
        reference="Bohdal et al. 2023, ICLR",
    )

    def __init__(
        self, *, eta: float = 3.0, min_rung: int = 0, sampler: StrategyFactory | None = None
    ) -> None:
        super().__init__(eta=eta, min_rung=min_rung, sampler=sampler)

    def _in_use(self, history: History) -> tuple[int, ...]:
        trials = list(history)
        farthest = max((max(t.step, t.until or 0) for t in trials), default=0)
        top = min(_FIRST_TOP, len(self.steps) - 1)
        while top < len(self.steps) - 1 and (
            farthest > self.steps[top] or not settled_order(self.steps[: top + 1], trials)
        ):
            top += 1
        return self.steps[: top + 1]


def settled_order(steps: Sequence[int], trials: Sequence[TrialRecord]) -> bool:
    """Return whether the trials at the last of `steps` stand in the order of the step before.

    Position by position, the trial at the top must be tied, one rung below, with the trial that
    held that position there. Fewer than two trials are always in order.
    """
    above, below = steps[-1], steps[-2]
    order = ranked(trials, above)
    before = ranked(order, below)
    if len(order) < 2 or len(before) != len(order):
        return True
    noise = crossing_noise(steps, order)
    return all(
        abs(_score(now, below) - _score(then, below)) <= noise
        for now, then in zip(order, before, strict=True)
    )


def crossing_noise(steps: Sequence[int], trials: Sequence[TrialRecord]) -> float:
    """Return the 90th percentile of the last gaps of pairs that changed places twice, else 0."""
    gaps = []
    for a, b in combinations(trials, 2):
        differences = np.asarray([_score(a, s) - _score(b, s) for s in steps])
        signs = np.sign(differences[differences != 0])
        if np.count_nonzero(np.diff(signs)) >= 2:
            gaps.append(abs(differences[-1]))
    return float(np.quantile(gaps, _NOISE_QUANTILE)) if gaps else 0.0


def _score(trial: TrialRecord, step: int) -> float:
    score = trial.score_at(step)
    return float("nan") if score is None else score
