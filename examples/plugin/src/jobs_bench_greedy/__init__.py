"""A strategy in thirty lines: every second trial is a small step away from the best one so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import AskContext, Problem, Recommendation, StrategyInfo
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench.trial import Done, Outcome, Proposal, Start


class Greedy:
    """Random search that steps away from its best trial every second time."""

    info = StrategyInfo("greedy", "Half random, half small steps from the best.")

    def __init__(self, *, width: float = 0.1) -> None:
        self.width = width

    def setup(self, problem: Problem) -> None:
        """Take in the problem."""
        self.problem, self.history = problem, History()

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return full runs; what is proposed depends on the context and the told outcomes alone."""
        chosen: list[Configuration] = []
        for i in range(n):
            config = self._next(ctx, len(ctx.history) + i, chosen)
            if config is None:
                break
            chosen.append(config)
        if not chosen and not ctx.running:
            return [Done()]
        return [Start(config, self.problem.fidelity.horizon) for config in chosen]

    def _next(
        self, ctx: AskContext, number: int, chosen: Sequence[Configuration]
    ) -> Configuration | None:
        space, best = self.problem.space, self._best()
        if self.problem.candidates is not None:  # a pool: draw what was not drawn yet
            drawn = {t.config for t in ctx.history} | set(chosen)
            fresh = [c for c in self.problem.candidates if c not in drawn]
            return fresh[int(ctx.rng.integers(len(fresh)))] if fresh else None
        if best is None or number % 2 == 0:
            return space.sample(ctx.rng)
        u = space.encode(best.config) + self.width * ctx.rng.standard_normal(space.n_unit)
        return space.decode(np.clip(u, 0, 1).tolist())

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes."""
        self.history.extend(outcomes)

    def _best(self) -> TrialRecord | None:
        full = self.history.at_least(self.problem.fidelity.horizon)
        return max(full, key=lambda t: t.points[-1].score.mean, default=None)

    def recommend(self) -> Recommendation:
        """Return the best full run, the default recipe before there is one."""
        best = self._best()
        if best is None:
            return Recommendation(self.problem.default, reason="nothing was trained to the end yet")
        score = best.points[-1].score
        half = 1.96 * score.se if score.se == score.se else 0.0
        return Recommendation(
            best.config,
            score.mean,
            score.mean - half,
            score.mean + half,
            "the best observed full run",
            best.trial_id,
        )
