"""Coordinate ascent between mixture and configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.space.axes import Block
from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import (
    AskContext,
    Problem,
    Recommendation,
    Strategy,
    StrategyFactory,
    StrategyInfo,
)
from jobs_bench.strategy.history import TrialRecord
from jobs_bench.trial import Json, Note, Outcome, Proposal
from jobs_bench_strategies._blocks import DATA, MODEL, BlockView, each_side, two_sided
from jobs_bench_strategies._observing import finite_score
from jobs_bench_strategies._spending import SLACK, end

_TURNS: tuple[tuple[Block, ...], ...] = (DATA, MODEL)


class Alternating:
    """Searches one side with the other held at the incumbent, and swaps every few full runs.

    Reference: the alternating baseline of Chen et al. 2026, arXiv 2602.08351 (their code has none).
    Each phase is a fresh inner strategy on the blocks in turn. It is told every trial so far
    that has the held values, so a phase that comes back to the same base starts from what is
    known. The incumbent is what the inner strategy recommends when it is told all trials on the
    whole space, so it is as sound as the inner strategy's own recommendation. The phase's
    number and base stand in each proposal's note. A swap waits for the trials in flight. Cost
    of an ask: that of the inner strategy, which is told the whole history anew at each swap.

    Args:
        base: The strategy of every phase.
        data: Another one for the phases of the mixture, such as a data-mixing method.
        model: Another one for the other phases; it also judges the incumbent.
        switch_every: Full runs of a phase at most, above 0.
        patience: A phase ends early after so many trials at the horizon in a row that were no
            better than the best before them; 0: it does not.
    """

    info = StrategyInfo(
        "alternating",
        "Coordinate ascent: mixture and configuration in turns, the other held at the incumbent",
        reference="baseline of Chen et al. 2026, arXiv 2602.08351",
    )

    def __init__(
        self,
        *,
        base: StrategyFactory | None = None,
        data: StrategyFactory | None = None,
        model: StrategyFactory | None = None,
        switch_every: float = 4.0,
        patience: int = 0,
    ) -> None:
        if not (math.isfinite(switch_every) and switch_every > 0):
            raise OptionError(f"got switch_every={switch_every}; wanted a number above 0")
        if patience < 0:
            raise OptionError(f"got patience={patience}; wanted at least 1, or 0 for none")
        self.switch_every = switch_every
        self.patience = patience
        self._sides = each_side("alternating", base, data, model)
        sides = [make().info for make in self._sides]
        self.info = two_sided(type(self).info, *sides)
        # the incumbent is judged by the side that models configurations on the whole space
        self._judge: Strategy = self._sides[1]()

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            SpaceError: The space lacks the data block, or has nothing else.
            CapabilityError: The pool does not vary one side alone.
            OptionError: The mixture's side is an online method.
        """
        self.problem = problem
        self._share = self.switch_every * problem.full_cost()
        self._outcomes: list[Outcome] = []
        self._judge.setup(problem)
        for number in range(len(_TURNS)):  # raises now rather than at the first swap
            side = self._sides[number]()
            side.setup(self._view(number, problem.default).problem)
            if side.recommend().controller:
                raise OptionError(
                    f"alternating cannot hold the mixture of {side.info.name}, which changes while "
                    f"a trial is trained; wanted independent?data={side.info.name}, or a method "
                    "that names a mixture"
                )
        self._phase: tuple[int, BlockView, Strategy, int] | None = None

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes."""
        self._outcomes.extend(outcomes)
        self._judge.tell(outcomes)

    def recommend(self) -> Recommendation:
        """Return what the inner strategy recommends when told every trial."""
        return self._judge.recommend()

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return proposals of the present phase, or of the next one when its share is spent."""
        number, base = _present(ctx, self.problem.default)
        for _ in range(len(_TURNS) + 1):
            try:
                view, inner = self._inner(number, base)
            except CapabilityError:  # a pool that does not vary this side at this base
                number += 1
                continue
            left = 0.0 if self._stale(view, ctx) else self._share - self._used(view, ctx)
            if left > SLACK * self._share:
                note: Note = {"phase": number, "base": cast(Json, base.to_json())}
                found, over = view.ask(inner, n, ctx, left, note)
                if not over:
                    return found
            if ctx.running:
                return [end(ctx)]
            number, base = number + 1, self._judge.recommend().config
        return [end(ctx)]

    def _view(self, number: int, base: Configuration) -> BlockView:
        limit = min(self._share, self.problem.budget.limit)
        return BlockView(self.problem, _TURNS[number % len(_TURNS)], base, limit, str(number))

    def _inner(self, number: int, base: Configuration) -> tuple[BlockView, Strategy]:
        """Return the view and the strategy of a phase, told all that it may know."""
        if self._phase is None or self._phase[0] != number or self._phase[1].base != base:
            view = self._view(number, base)
            inner = self._sides[number % len(_TURNS)]()
            inner.setup(view.problem)
            self._phase = (number, view, inner, 0)
        _, view, inner, told = self._phase
        # one at a time, as the runner tells: an inner strategy must not see the difference
        for outcome in view.outcomes(self._outcomes[told:]):
            inner.tell([outcome])
        self._phase = (number, view, inner, len(self._outcomes))
        return view, inner

    def _stale(self, view: BlockView, ctx: AskContext) -> bool:
        """Return whether the last `patience` full runs of this phase brought nothing."""
        if not self.patience:
            return False
        horizon = self.problem.fidelity.horizon
        best, idle = -math.inf, 0
        for trial in ctx.history:
            score = finite_score(trial, horizon)
            if score is None:
                continue
            better = score > best
            best = max(best, score)
            if view.owns(trial):
                idle = 0 if better else idle + 1
        return idle >= self.patience

    def _used(self, view: BlockView, ctx: AskContext) -> float:
        """Return the expected cost of what this phase proposed."""
        return math.fsum(
            self.problem.cost(t.config, 0, _reached(t, self.problem.fidelity.horizon))
            for t in ctx.history
            if view.owns(t)
        )


def _reached(trial: TrialRecord, horizon: int) -> int:
    if trial.until is not None:
        return trial.until
    # where a failed trial was going is not recorded: its phase counts a full run
    return horizon if trial.failed else trial.step


def _present(ctx: AskContext, default: Configuration) -> tuple[int, Configuration]:
    """Return number and base of the newest phase in the history; the first one holds `default`."""
    number, base = 0, default
    for trial in ctx.history:
        for note in trial.notes:
            phase, held = note.get("phase"), note.get("base")
            if isinstance(phase, int) and isinstance(held, Mapping) and phase > number:
                number, base = phase, Configuration.from_json(held)
    return number, base
