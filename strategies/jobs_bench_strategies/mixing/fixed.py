"""Mixtures that need no search: uniform and natural, trained once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jobs_bench.strategy.contract import AskContext, Problem, Recommendation, StrategyInfo
from jobs_bench.trial import Proposal, Start
from jobs_bench_strategies._drawing import nearest, tried
from jobs_bench_strategies._observing import Observing, finite_score
from jobs_bench_strategies._spending import Purse, end
from jobs_bench_strategies.mixing._method import the_mixture, with_mixture
from jobs_bench_strategies.mixing._swarm import prior_of


class Uniform(Observing):
    """Equal shares with the default recipe, trained once: what every search must beat."""

    info = StrategyInfo(
        "uniform",
        "Equal shares of all domains, default recipe",
        blocks=("data",),
        target_blind=True,
    )

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: The space has no mixture, or several.
        """
        super().setup(problem)
        simplex = the_mixture(self.info.name, problem)
        prior = prior_of(simplex, dict(problem.domains))
        shares = self.shares(problem, simplex.domains, prior)
        config = with_mixture(problem, simplex, shares)
        pool = problem.candidates
        self._config = config if pool is None else nearest(problem.space, config, pool)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return one full run."""
        del n
        horizon = self.problem.fidelity.horizon
        if self._config in tried(ctx.history):
            return [end(ctx)]
        affordable = Purse(self.problem, ctx).take(self._config, 0, horizon)
        return [Start(self._config, horizon)] if affordable else [end(ctx)]

    def recommend(self) -> Recommendation:
        """Return the fixed mixture, with its score once it was trained."""
        for trial in self.seen:
            score = finite_score(trial, self.problem.fidelity.horizon)
            if trial.config == self._config and score is not None:
                reason = f"the {self.info.name} mixture, trained once"
                return Recommendation(self._config, score, reason=reason, trial_id=trial.trial_id)
        return Recommendation(self._config, reason=f"the {self.info.name} mixture")

    def shares(self, problem: Problem, names: Sequence[str], prior: np.ndarray) -> np.ndarray:
        """Return the mixture, ``(k,)``; `prior` has the shares of the domains' rows."""
        del problem, names
        return np.full(len(prior), 1 / len(prior))


class Natural(Uniform):
    """Shares in proportion to the domains' rows with the default recipe, trained once."""

    info = StrategyInfo(
        "natural",
        "Shares of all domains by their rows, default recipe",
        blocks=("data",),
        target_blind=True,
    )

    def shares(self, problem: Problem, names: Sequence[str], prior: np.ndarray) -> np.ndarray:
        """Return the shares of the domains' rows, ``(k,)``."""
        del problem, names
        return prior
