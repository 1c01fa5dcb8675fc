"""What a replay answers with: the curve of a trial, what it costs, and its oracle score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from jobs_bench.space.configuration import Configuration
from jobs_bench.trial import Point, Status, Value


@dataclass(frozen=True, slots=True)
class Curve:
    """A whole trial.

    Attributes:
        points: By step, at the target's steps; a failed trial's end early.
        status: ``ok``, or how it failed after its last point.
        error: What went wrong.
    """

    points: Mapping[int, Point]
    status: Status = "ok"
    error: str = ""


@dataclass(frozen=True, slots=True)
class RunCost:
    """What a whole training run and one evaluation cost, in tokens and FLOPs."""

    train_tok: float
    train_flop: float
    eval_tok: float
    eval_flop: float


class Replay(Protocol):
    """Answers for a target in place of training."""

    @property
    def candidates(self) -> tuple[Configuration, ...] | None:
        """Return the pool, ``None`` where any configuration of the space will do."""
        ...

    @property
    def default(self) -> Configuration:
        """Return the default recipe."""
        ...

    def curve(self, config: Configuration, seed: int) -> Curve:
        """Return the curve of a trial; the same arguments give the same curve."""
        ...

    def oracle(self, config: Configuration) -> Value | None:
        """Return the expected score on the oracle's items and its standard error.

        ``None``: the table cannot say.
        """
        ...

    def cost(self, config: Configuration) -> RunCost:
        """Return what `config` costs."""
        ...
