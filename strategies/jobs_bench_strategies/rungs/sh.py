"""Successive halving, over and over."""

from __future__ import annotations

from jobs_bench.strategy.contract import Problem, StrategyFactory, StrategyInfo
from jobs_bench_strategies.rungs._core import Rung, bracket, upper_rungs
from jobs_bench_strategies.rungs.hyperband import Hyperband


class Sh(Hyperband):
    """Hyperband's most aggressive bracket alone, repeated until the budget is over.

    Reference: Jamieson and Talwalkar 2016 (AISTATS). ``eta**(rungs - 1)`` trials start at the
    lowest rung, one reaches the horizon. What differs: what `Hyperband` differs in.

    Args:
        eta: One in `eta` trials goes on, above 1.
        min_rung: Lowest rung to use, from 0.
        sampler: As in `Hyperband`.
    """

    info = StrategyInfo(
        "sh",
        "Successive halving: the most aggressive bracket of Hyperband, repeated",
        needs=frozenset({"resume"}),
        reference="Jamieson and Talwalkar 2016, AISTATS",
    )

    def __init__(
        self, *, eta: float = 3.0, min_rung: int = 0, sampler: StrategyFactory | None = None
    ) -> None:
        super().__init__(eta=eta, sampler=sampler)
        self.min_rung = min_rung

    def _brackets(self, problem: Problem) -> tuple[tuple[Rung, ...], ...]:
        steps = upper_rungs(problem, self.eta, self.min_rung)
        return (bracket(steps, self.eta, len(steps) - 1),)
