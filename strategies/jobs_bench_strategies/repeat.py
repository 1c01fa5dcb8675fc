"""Every run several times, each with a seed of its own: any strategy on means of runs."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import numpy as np

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.strategy.contract import (
    AskContext,
    Problem,
    Recommendation,
    StrategyFactory,
    StrategyInfo,
)
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench.trial import (
    Fork,
    Note,
    Outcome,
    Point,
    Proposal,
    Resume,
    Retire,
    Segment,
    Start,
    Value,
)
from jobs_bench_strategies._spending import SLACK, Purse, end

_Run = Start | Resume | Fork


class Repeat:
    """What the inner strategy takes for one trial is `times` trials of one configuration.

    Reference: this project; the plainest way to spend a budget on noise. The inner strategy sees
    means of runs that differ in seed, and a `times`-fold cost. A trial's segment is over when its
    last run is; a failed run fails it. Whether that pays is a question for a leaderboard:
    strategies that model noise need it less.

    Copies of trial ``g`` of the inner strategy are the trials ``times * g`` and following. Cost of
    an ask: that of the inner strategy.

    Args:
        base: The strategy.
        times: Runs of each trial, at least 2; fewer where the budget does not pay for as many full
            runs.
    """

    info = StrategyInfo(
        "repeat",
        "Runs every trial several times and shows any strategy the means",
        reference="this project",
    )

    def __init__(self, *, base: StrategyFactory, times: int = 2) -> None:
        if times < 2:
            raise OptionError(f"got times={times}; wanted at least 2 runs of each trial")
        self._most = self._times = times
        self._inner = base()
        self.info = dataclasses.replace(
            type(self).info,
            name=f"repeat({self._inner.info.name})",
            needs=self._inner.info.needs,
            blocks=self._inner.info.blocks,
        )

    def setup(self, problem: Problem) -> None:
        """Take in the problem.

        Raises:
            CapabilityError: A finite pool, whose runs are recorded and give the same each time; or
                an inner strategy that merges trials, which have no copies here.
        """
        if problem.candidates is not None:
            raise CapabilityError(
                f"got a pool of {len(problem.candidates)} recorded candidates; {self.info.name} "
                "wants a task that runs a configuration again with another seed"
            )
        self._problem = problem
        affordable = math.floor(problem.budget.limit / problem.full_cost() + SLACK)
        self._times = max(min(self._most, affordable), 1)
        self._told = History()
        self._open: dict[int, dict[int, Outcome]] = defaultdict(dict)
        inner = dataclasses.replace(
            problem,
            cost=lambda config, start, until: self._times * problem.cost(config, start, until),
            workers=math.ceil(problem.workers / self._times),
            capabilities=problem.capabilities - {"merge"},
        )
        self._inner.setup(inner)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return the runs that trials still lack, then those of new ones."""
        history = ctx.history
        purse = Purse(self._problem, ctx)
        lacking = self._lacking(history)
        for run in lacking:
            self._take(purse, run, history)
        found: list[Proposal] = [*lacking[:n]]
        free = n - len(found)
        if not free:
            return found
        view = self._context(ctx, purse.left)
        for proposal in self._inner.ask(math.ceil(free / self._times), view):
            if isinstance(proposal, Retire):
                first = proposal.trial_id * self._times
                found += [Retire(i) for i in range(first, first + self._times)]
            elif isinstance(proposal, (Start, Resume, Fork)):
                runs = self._runs(proposal, history)
                if not all(self._take(purse, run, history) for run in runs):
                    return [*found, end(ctx)]
                found += runs[:free]
                free -= len(runs[:free])
            else:
                found.append(proposal)
        return found

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Pass a trial on when the last of its runs is over."""
        for outcome in outcomes:
            trial, copy = divmod(outcome.segment.trial_id, self._times)
            runs = self._open[trial]
            runs[copy] = outcome
            if len(runs) == self._times:
                del self._open[trial]
                merged = self._merged(trial, [runs[i] for i in range(self._times)])
                self._told.close(merged)
                self._inner.tell([merged])

    def recommend(self) -> Recommendation:
        """Return the inner recommendation."""
        found = self._inner.recommend()
        if found.trial_id is None:
            return found
        return dataclasses.replace(found, trial_id=found.trial_id * self._times)

    def _runs(self, proposal: Start | Resume | Fork, history: History) -> list[_Run]:
        first = 0 if isinstance(proposal, Start) else proposal.trial_id * self._times
        start = 0 if isinstance(proposal, Start) else history[first].step
        note: Note = {"start": start, "until": proposal.until, "inner": dict(proposal.note)}
        if isinstance(proposal, Start):
            return [dataclasses.replace(proposal, note=note)] * self._times
        several = range(first, first + self._times)
        return [dataclasses.replace(proposal, trial_id=i, note=note) for i in several]

    def _lacking(self, history: History) -> list[_Run]:
        """Return the runs that trials under way still lack."""
        found: list[_Run] = []
        for trial in range(math.ceil(len(history) / self._times)):
            ids = range(trial * self._times, (trial + 1) * self._times)
            first = history[ids[0]]
            for i in ids:
                until = _until(first)
                if i not in history and first.parent is None:
                    found.append(Start(first.config, until, first.note, first.controller))
                elif i not in history:
                    assert first.parent is not None
                    parent = first.parent + i - ids[0]
                    found.append(Fork(parent, first.config, until, first.note))
                elif _until(history[i]) < until:
                    found.append(Resume(i, until, first.note))
        return found

    def _take(self, purse: Purse, run: _Run, history: History) -> bool:
        """Book one run; return whether it can be paid for."""
        if isinstance(run, Start):
            return purse.take(run.config, 0, run.until)
        record = history[run.trial_id]
        config = run.config if isinstance(run, Fork) else record.config
        return purse.take(config, record.step, run.until)

    def _context(self, ctx: AskContext, left: float) -> AskContext:
        """Return what the inner strategy would see if the runs of a trial were one."""
        seen = History()
        running: list[Segment] = []
        for trial in range(math.ceil(len(ctx.history) / self._times)):
            first = ctx.history[trial * self._times]
            parent = None if first.parent is None else first.parent // self._times
            record = TrialRecord(trial, first.config, parent, retired=first.retired)
            record.notes = [_inner(note) for note in first.notes]
            record.step = _start(first)
            if trial in self._told:
                told = self._told[trial]
                record.points, record.status = list(told.points), told.status
                record.step = told.step if told.step else record.step
            if not record.failed and record.step < _until(first):
                record.until = _until(first)
                forked = parent if len(first.notes) == 1 else None
                segment = Segment(trial, first.config, record.step, record.until, 0, forked)
                running.append(segment)
            seen.adopt(record)
        return dataclasses.replace(ctx, history=seen, running=tuple(running), remaining=left)

    def _merged(self, trial: int, runs: Sequence[Outcome]) -> Outcome:
        first = runs[0].segment
        parent = None if first.parent is None else first.parent // self._times
        curves = [{p.step: p for p in run.points} for run in runs]
        shared = [step for step in curves[0] if all(step in curve for curve in curves)]
        points = tuple(_mean_point([curve[step] for curve in curves]) for step in shared)
        failed = next((run for run in runs if run.status != "ok"), runs[0])
        return Outcome(
            dataclasses.replace(first, trial_id=trial, parent=parent),
            failed.status,
            points,
            tuple(charge for run in runs for charge in run.charges),
            failed.error,
        )


def _start(record: TrialRecord) -> int:
    return int(cast("int", record.note["start"]))


def _until(record: TrialRecord) -> int:
    return int(cast("int", record.note["until"]))


def _inner(note: Note) -> Note:
    inner = note["inner"]
    assert isinstance(inner, dict)  # as `_runs` made it
    return inner


def _mean_point(points: Sequence[Point]) -> Point:
    names = [n for n in points[0].metrics if all(n in p.metrics for p in points)]
    domains = [n for n in points[0].domain_losses if all(n in p.domain_losses for p in points)]
    return Point(
        points[0].step,
        _mean([p.score for p in points]),
        {name: _mean([p.metrics[name] for p in points]) for name in names},
        {name: float(np.mean([p.domain_losses[name] for p in points])) for name in domains},
    )


def _mean(values: Sequence[Value]) -> Value:
    """Return the mean of runs; its error has a part of their items and one of their seeds.

    The items are the same in all runs, so that only the part of the seeds falls with their number.
    """
    means = np.asarray([v.mean for v in values])
    items = float(np.mean([v.se**2 for v in values]))
    with np.errstate(invalid="ignore"):  # a diverged run: the mean is no number either
        seeds = float(means.var(ddof=1)) / len(means) if len(means) > 1 else 0.0
    return Value(float(means.mean()), math.sqrt(items + seeds), values[0].n)
