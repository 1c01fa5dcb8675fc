"""Showing a strategy a part of a problem: some blocks searched, the others held at a base point.

A trial belongs to a view when its held values are those of the base, whoever proposed it.
Membership is thus a function of the configuration alone, so that replayed outcomes reach the same
inner strategies as the first time, and the default recipe trained for one view is not trained again
for another.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from jobs_bench.budget import Budget
from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.space.axes import Block
from jobs_bench.space.configuration import AxisValue, Configuration
from jobs_bench.space.space import Space
from jobs_bench.strategy.contract import (
    AskContext,
    Problem,
    Strategy,
    StrategyFactory,
    StrategyInfo,
)
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench.trial import Done, Fork, Note, Outcome, Proposal, Retire, Segment, Start, Wait

DATA: tuple[Block, ...] = ("data",)
MODEL: tuple[Block, ...] = ("model", "train")


class BlockView:
    """A `Problem` restricted to `blocks`, and the translations between the two.

    Args:
        outer: The whole problem.
        blocks: What is searched.
        base: Configuration of the whole space that holds the rest.
        limit: Budget of this view, in the outer currency.
        tag: Goes into the notes; trials under another tag have empty notes in this view.

    Raises:
        SpaceError: No axis is in `blocks`.
        CapabilityError: Fewer than two candidates of a pool have the held values.
    """

    def __init__(
        self, outer: Problem, blocks: Sequence[Block], base: Configuration, limit: float, tag: str
    ) -> None:
        self.outer = outer
        self.base = base
        self.tag = tag
        self._members: dict[int, Configuration | None] = {}
        self._names = {a.name for a in outer.space.axes if a.block in blocks}
        space = outer.space.subspace(blocks, base)
        candidates = None
        if outer.candidates is not None:
            candidates = tuple(self.strip(c) for c in outer.candidates if c in self)
            if len(candidates) < 2:
                held = sorted(set(outer.space.names) - self._names)
                raise CapabilityError(
                    f"got {len(candidates)} candidates of the pool that have the held values of "
                    f"{', '.join(held)}; wanted at least 2 to search {', '.join(blocks)} alone"
                )
        self.problem = dataclasses.replace(
            outer,
            space=space,
            budget=Budget(limit, outer.budget.currency),
            cost=lambda config, start, until: outer.cost(self.complete(config), start, until),
            default=self.strip(base),
            candidates=candidates,
        )

    def __contains__(self, config: object) -> bool:
        """Return whether an outer configuration lies in this view."""
        return isinstance(config, Configuration) and config == self.complete(self.strip(config))

    def member(self, trial_id: int, config: Configuration) -> Configuration | None:
        """Return the searched part of a trial's configuration, ``None`` for one outside the view.

        Remembered by trial: a history is walked at every ask.
        """
        if trial_id not in self._members:
            self._members[trial_id] = self.strip(config) if config in self else None
        return self._members[trial_id]

    def strip(self, config: Configuration) -> Configuration:
        """Return the searched part of an outer configuration."""
        return Configuration({n: v for n, v in config.items() if n in self._names})

    def complete(self, config: Configuration) -> Configuration:
        """Return the outer configuration of an inner one; its values are not touched."""
        held = {n: v for n, v in self.base.items() if n not in self._names}
        return assemble(self.outer.space, {**held, **config})

    def outcomes(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """Return the inner view of those outcomes that belong to this view."""
        found = []
        for outcome in outcomes:
            segment = self._segment(outcome.segment)
            if segment is not None:
                found.append(dataclasses.replace(outcome, segment=segment))
        return found

    def _segment(self, segment: Segment) -> Segment | None:
        config = self.member(segment.trial_id, segment.config)
        return None if config is None else dataclasses.replace(segment, config=config)

    def owns(self, trial: TrialRecord) -> bool:
        """Return whether `trial` was proposed under this view's tag."""
        return bool(trial.notes) and trial.notes[0].get("view") == self.tag

    def context(self, ctx: AskContext, remaining: float) -> AskContext:
        """Return the inner view of a context."""
        members = History()
        for trial in ctx.history:
            config = self.member(trial.trial_id, trial.config)
            if config is not None:
                notes = [_inner(note) if self.owns(trial) else {} for note in trial.notes]
                members.adopt(dataclasses.replace(trial, config=config, notes=notes))
        running = tuple(s for segment in ctx.running if (s := self._segment(segment)) is not None)
        return dataclasses.replace(
            ctx, history=members, running=running, remaining=min(remaining, ctx.remaining)
        )

    def proposals(self, proposals: Iterable[Proposal], extra: Note) -> list[Proposal]:
        """Return the outer form of an inner answer: work and `Retire`, with nested notes."""
        found: list[Proposal] = []
        for proposal in proposals:
            if isinstance(proposal, (Wait, Done)):
                continue
            if isinstance(proposal, Retire):
                found.append(proposal)
                continue
            note: Note = {**extra, "view": self.tag, "inner": dict(proposal.note)}
            if isinstance(proposal, (Start, Fork)):
                config = self.complete(proposal.config)
                found.append(dataclasses.replace(proposal, config=config, note=note))
            else:
                found.append(dataclasses.replace(proposal, note=note))
        return found

    def ask(
        self, inner: Strategy, n: int, ctx: AskContext, remaining: float, extra: Note
    ) -> tuple[list[Proposal], bool]:
        """Return the outer proposals of `inner`, and whether it has come to its end.

        It has when it proposes no work although nothing of this view is in flight.
        """
        view = self.context(ctx, remaining)
        found = self.proposals(inner.ask(n, view), extra)
        work = any(not isinstance(p, Retire) for p in found)
        return found, not work and not view.running


def each_side(
    name: str,
    base: StrategyFactory | None,
    data: StrategyFactory | None,
    model: StrategyFactory | None,
) -> tuple[StrategyFactory, StrategyFactory]:
    """Return who searches the data block and who the rest: `base` where no other is named.

    Raises:
        OptionError: A side without a strategy.
    """
    sides = (data or base, model or base)
    if sides[0] is None or sides[1] is None:
        lacking = "data" if sides[0] is None else "model"
        raise OptionError(
            f"{name} lacks a strategy for the {lacking} block; wanted {name}(bo) for both, or "
            f"{name}?data=regmix&model=bo"
        )
    return sides[0], sides[1]


def two_sided(info: StrategyInfo, data: StrategyInfo, model: StrategyInfo) -> StrategyInfo:
    """Return what is known of a wrapper around two strategies: their names and joint needs."""
    inner = data.name if data.name == model.name else f"data={data.name}, model={model.name}"
    return dataclasses.replace(
        info, name=f"{info.name}({inner})", needs=info.needs | data.needs | model.needs
    )


def assemble(space: Space, values: Mapping[str, AxisValue]) -> Configuration:
    """Return `values` without inactive axes, with defaults for missing ones, not realised anew."""
    built: dict[str, AxisValue] = {}
    for axis in space.axes:
        if space.is_active(axis.name, built):
            value = values.get(axis.name)
            built[axis.name] = axis.default_value() if value is None else value
    return Configuration(built)


def _inner(note: Note) -> Note:
    inner = note.get("inner")
    return inner if isinstance(inner, dict) else {}
