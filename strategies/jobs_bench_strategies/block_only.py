"""Search of one side alone: the mixture, or the configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

from jobs_bench.space.axes import Block
from jobs_bench.strategy.contract import (
    AskContext,
    Problem,
    Recommendation,
    StrategyFactory,
    StrategyInfo,
)
from jobs_bench.trial import Outcome, Proposal
from jobs_bench_strategies._blocks import DATA, MODEL, BlockView
from jobs_bench_strategies._spending import end


class _BlockOnly:
    """Any strategy on some blocks of the space, the others held at the default recipe."""

    info: StrategyInfo
    blocks: ClassVar[tuple[Block, ...]]

    def __init__(self, *, base: StrategyFactory) -> None:
        self._inner = base()
        self.info = dataclasses.replace(
            type(self).info,
            name=f"{type(self).info.name}({self._inner.info.name})",
            needs=self._inner.info.needs,
        )

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            SpaceError: The space has none of the blocks.
            CapabilityError: The pool does not vary these blocks alone.
        """
        self._view = BlockView(problem, self.blocks, problem.default, problem.budget.limit, "only")
        self._inner.setup(self._view.problem)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return what the inner strategy proposes, completed."""
        found, over = self._view.ask(self._inner, n, ctx, ctx.remaining, {})
        return [*found, end(ctx)] if over else found

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Pass outcomes on."""
        self._inner.tell(self._view.outcomes(outcomes))

    def recommend(self) -> Recommendation:
        """Return the inner recommendation, completed."""
        found = self._inner.recommend()
        return dataclasses.replace(found, config=self._view.complete(found.config))


class DataOnly(_BlockOnly):
    """Any strategy on the mixture alone; configuration and recipe stay at the default.

    Reference: the data-only baseline of Chen et al. 2026, arXiv 2602.08351. What differs: the held
    part is the task's default recipe, the one that is a row of every result, instead of a rank
    chosen by hand. Cost of an ask: that of the inner strategy on a smaller space.

    Args:
        base: The strategy.
    """

    info = StrategyInfo(
        "data_only",
        "Searches the mixture with any strategy, the rest at the default",
        blocks=DATA,
        reference="baseline of Chen et al. 2026, arXiv 2602.08351",
    )
    blocks = DATA


class ModelOnly(_BlockOnly):
    """Any strategy on configuration and recipe alone; the mixture stays at the default.

    Reference: the model-only baseline of Chen et al. 2026, arXiv 2602.08351. What differs: the
    mixture held is the task's default. Cost of an ask: that of the inner strategy on a smaller
    space.

    Args:
        base: The strategy.
    """

    info = StrategyInfo(
        "model_only",
        "Searches the configuration with any strategy, the mixture at the default",
        blocks=MODEL,
        reference="baseline of Chen et al. 2026, arXiv 2602.08351",
    )
    blocks = MODEL
