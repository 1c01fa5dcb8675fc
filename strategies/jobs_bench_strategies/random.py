"""Random search."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jobs_bench.errors import OptionError
from jobs_bench.strategy.contract import AskContext, Problem, StrategyInfo
from jobs_bench.trial import Proposal, Start
from jobs_bench_strategies._drawing import draw, tried
from jobs_bench_strategies._observing import Observing
from jobs_bench_strategies._spending import Purse, end

_TRIES = 16


class Random(Observing):
    """Uniform draws from the space, each trained to the same step.

    Reference: Bergstra and Bengio 2012, "Random search for hyper-parameter optimization". Log
    axes are log-uniform, mixtures Dirichlet(1, ..., 1). What differs: a draw that the remaining
    budget cannot pay for is drawn again, up to 16 times, so that the tail of a budget is not
    lost to one costly draw. Cost of an ask: microseconds.

    Args:
        until_fraction: Length of each run as a share of the horizon, ``(0, 1]``.
    """

    info = StrategyInfo(
        "random", "Uniform draws at the horizon", reference="Bergstra and Bengio 2012"
    )

    def __init__(self, *, until_fraction: float = 1.0) -> None:
        if not (math.isfinite(until_fraction) and 0 < until_fraction <= 1):
            raise OptionError(f"got until_fraction={until_fraction}; wanted a share in (0, 1]")
        super().__init__()
        self.until_fraction = until_fraction

    def setup(self, problem: Problem) -> None:
        """Take in the problem."""
        super().setup(problem)
        fidelity = problem.fidelity
        self._until = fidelity.snap(self.until_fraction * fidelity.horizon)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return up to `n` fresh draws."""
        purse = Purse(self.problem, ctx)
        taken = tried(ctx.history)
        proposals: list[Proposal] = []
        for _ in range(n * _TRIES):
            config = draw(self.problem, ctx.rng, taken)
            if len(proposals) == n or config is None:
                break
            if purse.take(config, 0, self._until):
                taken.add(config)
                proposals.append(Start(config, self._until))
        return proposals or [end(ctx)]
