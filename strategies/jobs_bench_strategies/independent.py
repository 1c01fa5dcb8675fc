"""Independent search of mixture and configuration, combined at the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jobs_bench.strategy.contract import (
    AskContext,
    Problem,
    Recommendation,
    Strategy,
    StrategyFactory,
    StrategyInfo,
)
from jobs_bench.trial import Outcome, Proposal
from jobs_bench_strategies._blocks import (
    DATA,
    MODEL,
    BlockView,
    assemble,
    each_side,
    two_sided,
)
from jobs_bench_strategies._spending import end


class Independent:
    """Half of the budget on the mixture, half on the configuration; both winners are combined.

    Reference: the independent baseline of Chen et al. 2026, arXiv 2602.08351. First the mixture is
    searched with the rest at the default recipe, then the rest with the mixture at its default. The
    combination itself is never trained: whether it is good depends on how little the two interact,
    which is what this baseline is there to measure. What differs: the default recipe, which lies in
    both halves, is trained once and told to both. What the first half leaves over goes to the
    second. The mixture of an online method is recommended with its controller. Cost of an ask:
    that of the inner strategy on a smaller space.

    Args:
        base: The strategy of both halves.
        data: Another one for the mixture, such as a data-mixing method.
        model: Another one for the rest.
    """

    info = StrategyInfo(
        "independent",
        "Searches the mixture, then the configuration, each at the other's default; combines both",
        reference="baseline of Chen et al. 2026, arXiv 2602.08351",
    )

    def __init__(
        self,
        *,
        base: StrategyFactory | None = None,
        data: StrategyFactory | None = None,
        model: StrategyFactory | None = None,
    ) -> None:
        sides = each_side("independent", base, data, model)
        self._inner: tuple[Strategy, Strategy] = (sides[0](), sides[1]())
        self.info = two_sided(type(self).info, *(i.info for i in self._inner))

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            SpaceError: The space lacks the data block, or has nothing else.
            CapabilityError: The pool does not vary one side alone.
        """
        self._half = problem.budget.limit / 2
        self._views = (
            BlockView(problem, DATA, problem.default, self._half, "data"),
            BlockView(problem, MODEL, problem.default, self._half, "model"),
        )
        for inner, view in zip(self._inner, self._views, strict=True):
            inner.setup(view.problem)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return proposals of the first half while it lasts, then of the second."""
        data, model = self._views
        retired: list[Proposal] = []
        if not any(model.owns(t) for t in ctx.history):
            remaining = ctx.remaining - self._half
            found, over = data.ask(self._inner[0], n, ctx, remaining, {})
            if not over:
                return found
            retired = found
        found, over = model.ask(self._inner[1], n, ctx, ctx.remaining, {})
        return [*retired, *found, end(ctx)] if over else [*retired, *found]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Pass outcomes to the half or halves they belong to."""
        for inner, view in zip(self._inner, self._views, strict=True):
            mine = view.outcomes(outcomes)
            if mine:
                inner.tell(mine)

    def recommend(self) -> Recommendation:
        """Return the mixture of the first half with the configuration of the second."""
        data, model = (inner.recommend() for inner in self._inner)
        outer = self._views[0].outer
        mixed = assemble(outer.space, {**model.config, **data.config})
        pool = outer.candidates
        if pool is not None and mixed not in pool:
            better = max((r.score or float("-inf"), i, r) for i, r in enumerate((data, model)))
            at, found = better[1], better[2]
            config = self._views[at].complete(found.config)
            reason = f"the combination is not in the pool; the better half: {found.reason}"
            return dataclasses.replace(found, config=config, reason=reason)
        return Recommendation(
            mixed,
            reason=f"never trained together. Mixture: {data.reason}. The rest: {model.reason}",
            controller=data.controller,
        )
