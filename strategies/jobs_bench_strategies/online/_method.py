"""What strategies of one controlled run share."""

from __future__ import annotations

import dataclasses
from abc import ABC
from collections.abc import Sequence

import numpy as np

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.strategy.contract import AskContext, Problem, Recommendation, StrategyInfo
from jobs_bench.strategy.controller import Controller, capabilities_of, planned_cost
from jobs_bench.trial import Proposal, Start
from jobs_bench_strategies._drawing import tried
from jobs_bench_strategies._spending import SLACK, end
from jobs_bench_strategies.mixing.fixed import Uniform


class OnlineMethod(Uniform, ABC):
    """The default recipe from equal shares, trained once in full under a controller.

    Args:
        controller: The controller.
        options: Its options, for the spec by which the evaluator finds it.
    """

    info: StrategyInfo

    def __init__(self, controller: Controller, options: dict[str, float]) -> None:
        super().__init__()
        self.controller = controller
        written = "&".join(f"{name}={value}" for name, value in options.items())
        self.spec = f"{self.info.name}?{written}"

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: The task lacks what the controller needs, or its space has no mixture,
                or several.
            OptionError: The rounds do not fit the task's horizon, or the run the budget.
        """
        lacking = sorted(capabilities_of(self.controller) - problem.capabilities)
        if lacking:
            raise CapabilityError(
                f"{self.info.name} needs {', '.join(lacking)}; the task gives "
                f"{', '.join(sorted(problem.capabilities)) or 'nothing'}"
            )
        super().setup(problem)
        self.controller.ends(len(problem.domains), problem.fidelity.horizon)
        cost = self._cost()
        if cost > problem.budget.limit + SLACK * problem.full_cost():
            raise OptionError(
                f"got a budget of {problem.budget}; {self.spec} wants at least {cost:.4g}"
                f"{problem.budget.currency}: a full run with all that is measured on its way"
            )

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return one full run."""
        del n
        problem = self.problem
        affordable = self._cost() <= ctx.remaining + SLACK * problem.full_cost()
        if self._config in tried(ctx.history) or not affordable:
            return [end(ctx)]
        return [Start(self._config, problem.fidelity.horizon, controller=self.spec)]

    def recommend(self) -> Recommendation:
        """Return the controlled run, with its score once it was trained."""
        return dataclasses.replace(super().recommend(), controller=self.spec)

    def _cost(self) -> float:
        horizon = self.problem.fidelity.horizon
        return planned_cost(self.problem, self.controller, self._config, 0, horizon)


def check_rounds(rounds: int) -> None:
    """Refuse a number of rounds that changes nothing.

    Raises:
        OptionError: Fewer than two.
    """
    if rounds < 2:
        raise OptionError(f"got rounds={rounds}; wanted at least 2: shares change between rounds")


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return positive shares that sum to 1, without overflow."""
    powers = np.exp(logits - logits.max())
    found: np.ndarray = powers / powers.sum()
    return found
