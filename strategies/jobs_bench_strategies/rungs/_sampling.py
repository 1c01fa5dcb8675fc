"""What to try next: the interface that every rung rule takes, and the two plainest answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Protocol

from jobs_bench.fidelity import Fidelity
from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import AskContext, Problem, StrategyFactory
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench.trial import Note, Outcome, Segment, Start
from jobs_bench_strategies._drawing import draw
from jobs_bench_strategies.rungs._core import ranked

SAMPLER = "sampler"


@dataclass(frozen=True, slots=True)
class Pick:
    """A configuration to try; `note` comes back in the history under ``sampler``."""

    config: Configuration
    note: Note = field(default_factory=dict)

    def noted(self, note: Note) -> Note:
        """Return `note` with the sampler's own beside it."""
        return {**note, SAMPLER: dict(self.note)} if self.note else note


class Sampler(Protocol):
    """Says what to try next; pure in its arguments."""

    def __call__(
        self, problem: Problem, ctx: AskContext, taken: Collection[Configuration], until: int
    ) -> Pick | None:
        """Return a configuration to be trained until `until`, ``None`` when none is left."""
        ...


def uniform(
    problem: Problem, ctx: AskContext, taken: Collection[Configuration], until: int
) -> Pick | None:
    """Return a uniform draw: the sampler of Hyperband and ASHA."""
    del until
    config = draw(problem, ctx.rng, taken)
    return None if config is None else Pick(config)


def highest_rung(problem: Problem, history: History, enough: int) -> int | None:
    """Return the highest step at which at least `enough` trials have a finite score."""
    for step in reversed(problem.fidelity.steps):
        if len(ranked(history, step)) >= enough:
            return step
    return None


class Borrowed:
    """Lets any strategy say what to try.

    The strategy sees the study up to one rung as though that were the horizon: the highest rung
    with at least `enough` scores, else the one that the new trial starts for. It is set up afresh
    at every ask, so that the answer is a function of the history; its notes are kept for it.
    Where it proposes no new trial (it would resume one, or has come to its end), a uniform draw
    stands in.

    Args:
        strategy: Makes the strategy.
        enough: Scores that make a rung worth modelling.
    """

    def __init__(self, strategy: StrategyFactory, enough: int = 4) -> None:
        self.strategy = strategy
        self.enough = enough

    def __call__(
        self, problem: Problem, ctx: AskContext, taken: Collection[Configuration], until: int
    ) -> Pick | None:
        """Return what the strategy would start.

        Raises:
            CapabilityError: The strategy needs more than the task can give.
        """
        top = highest_rung(problem, ctx.history, self.enough) or until
        steps = tuple(s for s in problem.fidelity.steps if s <= top)
        view = dataclasses.replace(problem, fidelity=Fidelity(steps, problem.fidelity.unit))
        history = History()
        outcomes = []
        for trial in ctx.history:
            seen = _until(trial, top)
            history.adopt(seen)
            if seen.status is not None:
                outcomes.append(_outcome(seen))
        inner = self.strategy()
        inner.setup(view)
        inner.tell(outcomes)
        found = inner.ask(1, dataclasses.replace(ctx, history=history, running=()))
        for proposal in found:
            if isinstance(proposal, Start) and proposal.config not in taken:
                return Pick(proposal.config, proposal.note)
        return uniform(problem, ctx, taken, until)


def from_option(strategy: StrategyFactory | None) -> Sampler:
    """Return the sampler that the option ``sampler`` of a rung rule names."""
    return uniform if strategy is None else Borrowed(strategy)


def _until(trial: TrialRecord, top: int) -> TrialRecord:
    """Return `trial` as it looked when it stood at `top`, with the notes of its sampler."""
    points = [p for p in trial.points if p.step <= top]
    there = trial.step >= top
    return dataclasses.replace(
        trial,
        notes=[_inner(note) for note in trial.notes[:1]],
        points=points,
        step=min(trial.step, top),
        status="ok" if there else trial.status,
        until=None if there else trial.until,
    )


def _inner(note: Note) -> Note:
    inner = note.get(SAMPLER)
    return inner if isinstance(inner, dict) else {}


def _outcome(trial: TrialRecord) -> Outcome:
    assert trial.status is not None
    segment = Segment(trial.trial_id, trial.config, 0, trial.step or 1, 0, trial.parent)
    return Outcome(segment, trial.status, tuple(trial.points), ())
