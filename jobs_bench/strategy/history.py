"""The record of a study as a strategy sees it: trials with their notes and curves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from jobs_bench.space.configuration import Configuration
from jobs_bench.trial import Merge, Note, Outcome, Point, Segment, Status


@dataclass(slots=True)
class TrialRecord:
    """One trial.

    Attributes:
        trial_id: Its number in the study.
        config: Its configuration.
        parent: Trial it was forked from, or ``None``.
        notes: The notes of its proposals, oldest first.
        points: Its curve so far, in step order.
        step: Optimiser steps taken.
        status: Of its last finished segment, ``None`` before the first one is over.
        until: Where its segment in flight goes, ``None`` when none is.
        retired: The strategy gave it up.
        controller: Spec of its controller, empty where it has none.
        merge: Trials that it was merged from, with their coefficients; empty: it was trained.
    """

    trial_id: int
    config: Configuration
    parent: int | None = None
    notes: list[Note] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    step: int = 0
    status: Status | None = None
    until: int | None = None
    retired: bool = False
    controller: str = ""
    merge: Merge = ()

    @property
    def note(self) -> Note:
        """Return the newest note, empty when there is none."""
        return self.notes[-1] if self.notes else {}

    @property
    def ok(self) -> bool:
        """Return whether at least one segment ended and the last one ended well."""
        return self.status == "ok"

    @property
    def failed(self) -> bool:
        """Return whether the last segment ended badly; such a trial cannot be resumed."""
        return self.status is not None and self.status != "ok"

    def score_at(self, step: int) -> float | None:
        """Return the score at exactly `step`, or ``None``."""
        return next((p.score.mean for p in self.points if p.step == step), None)

    @property
    def last(self) -> Point | None:
        """Return the newest point."""
        return self.points[-1] if self.points else None


class History:
    """All trials of a study, by number; told outcomes only.

    The runner keeps one for the context of each ask. A strategy that needs the outcomes outside of
    an ask (for `recommend`) keeps its own and feeds it in `tell`.
    """

    def __init__(self) -> None:
        self._trials: dict[int, TrialRecord] = {}

    def __iter__(self) -> Iterator[TrialRecord]:
        return iter(self._trials.values())

    def __len__(self) -> int:
        return len(self._trials)

    def __getitem__(self, trial_id: int) -> TrialRecord:
        return self._trials[trial_id]

    def __contains__(self, trial_id: object) -> bool:
        return trial_id in self._trials

    def at_least(self, step: int) -> list[TrialRecord]:
        """Return the trials that have a finite score at exactly `step`."""
        return [t for t in self if _finite(t.score_at(step))]

    def open(self, segment: Segment, note: Note) -> TrialRecord:
        """Note that `segment` is in flight; its trial is created when it is new."""
        record = self._trials.get(segment.trial_id)
        if record is None:
            record = _opened(segment)
            record.step = segment.start
            self._trials[segment.trial_id] = record
        record.until = segment.until
        record.notes.append(note)
        return record

    def adopt(self, record: TrialRecord) -> None:
        """Add a record as it is: for wrappers that show a strategy a part of a history."""
        self._trials[record.trial_id] = record

    def close(self, outcome: Outcome) -> TrialRecord:
        """Add an outcome; its trial is created when it is new."""
        segment = outcome.segment
        record = self._trials.get(segment.trial_id)
        if record is None:
            record = _opened(segment)
            self._trials[segment.trial_id] = record
        record.points.extend(outcome.points)
        record.status = outcome.status
        record.until = None
        if outcome.status == "ok":
            record.step = segment.until
        return record

    def extend(self, outcomes: Iterable[Outcome]) -> None:
        """Add outcomes in order."""
        for outcome in outcomes:
            self.close(outcome)


def _opened(segment: Segment) -> TrialRecord:
    return TrialRecord(
        segment.trial_id,
        segment.config,
        segment.parent,
        controller=segment.controller,
        merge=segment.merge,
    )


def _finite(value: float | None) -> bool:
    return value is not None and value - value == 0.0
