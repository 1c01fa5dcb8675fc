"""One segment under way: what was measured, what it cost, how it ended."""

from __future__ import annotations

import time
import traceback
from typing import Final

import torch

from jobs_bench.budget import Charge
from jobs_bench.errors import JobsBenchError, StorageError
from jobs_bench.task.contract import ModelFacts
from jobs_bench.task.cost import eval_flop, train_flop
from jobs_bench.train.trainer import DivergedError
from jobs_bench.trial import Outcome, Point, Segment, Status

FAULTS: Final = (JobsBenchError, MemoryError, RuntimeError, OSError, ValueError)
"""What a trial can be at fault for; `StorageError`, one of them, is nobody's."""


def out_of_memory(err: Exception) -> bool:
    """Return whether the machine had no room."""
    if isinstance(err, (MemoryError, torch.OutOfMemoryError)):
        return True
    told = "not enough memory" in str(err) or "can't allocate memory" in str(err)
    return told and isinstance(err, (RuntimeError, OSError, ValueError))


def fault(err: Exception) -> tuple[Status, str]:
    """Return the status of a trial that failed so, and what to say of it.

    Raises:
        StorageError: No trial is at fault: the study stops and can be resumed.
    """
    if isinstance(err, StorageError):
        raise err
    if isinstance(err, DivergedError):
        return "diverged", str(err)
    if out_of_memory(err):
        return "oom", str(err)
    if isinstance(err, JobsBenchError):
        return "crashed", str(err)
    return "crashed", "".join(traceback.format_exception(err, limit=-3))[-2000:]


class Lap:
    """A stopwatch: each call returns the seconds since the one before."""

    def __init__(self) -> None:
        self._at = time.perf_counter()

    def __call__(self) -> float:
        """Return the seconds since the last call, or since it was made."""
        now = time.perf_counter()
        lap, self._at = now - self._at, now
        return lap


class Attempt:
    """The points of one segment, its tokens, train and eval apart, and its status.

    Attributes:
        points: Measured so far.
    """

    def __init__(self, segment: Segment, facts: ModelFacts) -> None:
        self._segment = segment
        self._facts = facts
        self._train_tokens = 0
        self._eval_tokens = 0
        self._proxy = Charge("proxy", 0, 0.0)
        self._steps = 0
        self._status: Status = "ok"
        self._error = ""
        self.points: list[Point] = []

    @property
    def train_tokens(self) -> int:
        """Return the tokens trained on so far."""
        return self._train_tokens

    def trained(self, tokens: int, step: int) -> None:
        """Note the tokens since the segment began and the step that it stands at."""
        self._train_tokens = tokens
        self._steps = step - self._segment.start

    def scored(self, tokens: int) -> None:
        """Note the tokens of a scoring."""
        self._eval_tokens += tokens

    def measured(self, tokens: int, flop: float, seconds: float = 0.0) -> None:
        """Note what a controller had done beside training the trial and scoring it."""
        self._proxy = self._proxy.plus(Charge("proxy", tokens, flop, seconds))

    def failed(self, err: Exception) -> None:
        """Note how it failed.

        Raises:
            StorageError: No trial is at fault: the study stops and can be resumed.
        """
        self._status, self._error = fault(err)
        if isinstance(err, DivergedError):
            self.trained(err.tokens, err.step)

    def outcome(self, train_s: float, eval_s: float) -> Outcome:
        """Return what became of the segment, which took so many seconds."""
        config, facts = self._segment.config, self._facts
        if self._segment.merge:
            return self._merged(eval_s)
        train = train_flop(facts, config, self._train_tokens, self._steps)
        evaluated = eval_flop(facts, config, self._eval_tokens)
        charges: tuple[Charge, ...] = (
            Charge("train", self._train_tokens, train, train_s),
            Charge("eval", self._eval_tokens, evaluated, eval_s),
        )
        if self._proxy.tok:
            charges = (*charges, self._proxy)
        return Outcome(self._segment, self._status, tuple(self.points), charges, self._error)

    def _merged(self, eval_s: float) -> Outcome:
        """Return what became of a merged trial: scored at the sum of its parents' ranks."""
        segment, tokens = self._segment, self._eval_tokens
        r = segment.config.get("r")
        whole = dict(segment.config)
        if isinstance(r, int):
            whole["r"] = r * len(segment.merge)
        charge = Charge("eval", tokens, eval_flop(self._facts, whole, tokens), eval_s)
        return Outcome(segment, self._status, tuple(self.points), (charge,), self._error)
