"""Trials: what a strategy proposes, the segments that are run, and the outcomes that come back.

A *trial* is one configuration with its training trajectory; a *segment* takes it from one optimiser
step to another and is the unit of work. Pausing is not asking for more: successive halving,
Hyperband, ASHA, freeze-thaw, population based training and JoBS all speak in the same six verbs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jobs_bench.budget import Charge
from jobs_bench.space.configuration import Configuration

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Note = Mapping[str, Json]
Merge = tuple[tuple[int, float], ...]
"""Trials whose adapters are added up, and their coefficients; empty: nothing is."""

Status = Literal["ok", "diverged", "oom", "timeout", "crashed", "lost"]


@dataclass(frozen=True, slots=True)
class Start:
    """Train a new trial of `config` from step 0 until step `until`; or merge trials into one.

    A merged trial is not trained. Its update of the weights is the sum of its parents' updates at
    step `until`, where they all stand, times their coefficients; it is scored there once, which is
    all it costs. It has no checkpoint: it cannot be resumed, forked or merged again. `config` is
    that of the parents with the mixture that the merged trial stands for.

    Attributes:
        note: What the strategy wants to remember of this proposal, such as its bracket, in JSON
            values. It is recorded and given back in the history.
        controller: Spec of the controller that changes the mixture on the way, such as
            ``odm?rounds=8``; empty: the configuration's mixture from beginning to end.
        merge: Parents and coefficients of a merged trial, empty for one that is trained.
    """

    config: Configuration
    until: int
    note: Note = field(default_factory=dict)
    controller: str = ""
    merge: Merge = ()


@dataclass(frozen=True, slots=True)
class Resume:
    """Take trial `trial_id` on from where it stands until step `until`."""

    trial_id: int
    until: int
    note: Note = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fork:
    """Start a new trial from the weights of `trial_id`, under `config`, until step `until`."""

    trial_id: int
    config: Configuration
    until: int
    note: Note = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retire:
    """Promise never to resume `trial_id`: its checkpoint may go."""

    trial_id: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to propose before another outcome has been told."""


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing to propose ever again."""


Proposal = Start | Resume | Fork | Retire | Wait | Done


@dataclass(frozen=True, slots=True)
class Segment:
    """The unit of work: trial `trial_id` from step `start` (exclusive) until step `until`.

    Attributes:
        trial_id: Number of the trial in its study, from 0.
        config: What is trained.
        start: Optimiser steps already taken.
        until: Optimiser steps taken when the segment is over.
        seed: Seed of the trial's batches and initial weights, ``[0, 2**63)``.
        parent: Trial whose checkpoint at `start` this trial begins from; ``None``: its own.
        controller: Spec of the trial's controller, empty where it has none.
        merge: Parents and coefficients of a merged trial, which begins where it ends: `start` is
            `until`, the step of its parents.
    """

    trial_id: int
    config: Configuration
    start: int
    until: int
    seed: int
    parent: int | None = None
    controller: str = ""
    merge: Merge = ()


@dataclass(frozen=True, slots=True)
class Value:
    """A measured mean with its standard error over `n` items (`se` is NaN where unknown)."""

    mean: float
    se: float = math.nan
    n: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a learning curve.

    Attributes:
        step: Optimiser steps taken.
        score: The task's own metric, turned so that higher is better.
        metrics: Every metric under its own name, in its own direction.
        domain_losses: Mean loss a token on held-out rows of each training domain.
        items: What each question came to, in the task's order: the metric behind the score, and
            ``gold_logprob``, the log-probability of the right answer in nats. Only where the task
            has the capability ``logprobs``.
        shares: Of the training domains, on the way to the point: only where a controller may have
            changed them, empty where the configuration's mixture holds.
    """

    step: int
    score: Value
    metrics: Mapping[str, Value] = field(default_factory=dict)
    domain_losses: Mapping[str, float] = field(default_factory=dict)
    items: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a segment. Failures are told, and cost what they cost.

    Attributes:
        segment: The segment that was run.
        status: ``ok``, or how it failed.
        points: Curve points at the task's evaluation steps in ``(start, until]``, in step order; of
            a merged trial the one at `until`.
        charges: What it cost, one entry a category.
        error: Last lines of what went wrong, empty when `status` is ``ok``.
    """

    segment: Segment
    status: Status
    points: tuple[Point, ...]
    charges: tuple[Charge, ...]
    error: str = ""

    @property
    def final(self) -> Point | None:
        """Return the last point, or ``None`` when there is none."""
        return self.points[-1] if self.points else None
