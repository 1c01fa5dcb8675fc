"""Continuous packing: runs share passes over one base model, and a free seat is taken at once.

A run that has ended, however it ended, leaves its seat before the next step, and the next one that
waits takes it, so that many short runs keep the pack full. What goes wrong in a pass of several
halves the pack and the pass is tried again: those that had to leave keep their state and come back
as seats get free. Whoever fails in a pass of its own is at fault, and nobody else is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch

from jobs_bench.evaluator.attempt import FAULTS, out_of_memory
from jobs_bench.evaluator.memory import SavedBytes, pack_size
from jobs_bench.space.configuration import Configuration
from jobs_bench.task.finetune import Recipe
from jobs_bench.train.adapter import method_of
from jobs_bench.train.batches import MixtureStream
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.low_rank import PLAIN, low_rank
from jobs_bench.train.packed import Member, PackedTrainer, why_unpacked
from jobs_bench.train.trainer import Progress


class Run(Protocol):
    """One trial's way from where it stands to its last stop, as a pack sees it.

    Attributes:
        config: Of the trial.
        seed: Of the trial.
        stops: Steps at which it is measured, ascending.
        waits_for: Runs that must have ended before it begins.
        packs: Whether it may share passes.
        train_s: Seconds of training, its share of the pack's; the pack adds to them.
        eval_s: Seconds of everything else.
    """

    config: Configuration
    seed: int
    stops: Sequence[int]
    waits_for: Sequence[Run]
    packs: bool
    train_s: float
    eval_s: float

    def begin(self, member: Member) -> None:
        """Bring a fresh member to where the trial stands; may be called again."""
        ...

    def reached(self, progress: Progress) -> None:
        """Measure at a stop; the trial's adapter is on the model."""
        ...

    def arrived(self, member: Member) -> None:
        """Keep what shall be kept after the last stop."""
        ...

    def failed(self, err: Exception, member: Member | None) -> None:
        """Note a failure; `member` as it was after its last step, where it had begun."""
        ...

    def alone(self) -> None:
        """Go all the way without a pack."""
        ...


@dataclass(slots=True, eq=False)
class _Rider:
    run: Run
    member: Member
    ahead: list[int]
    """Stops, the next one last."""


class Pack:
    """The seats of one base model.

    Args:
        model: Base model.
        stream: Where batches come from.
        recipe: What is the same for every trial.
        size: Seats; 1: every run goes alone; ``None``: as many as the memory has room for, measured
            once, at the first step of the first run.
        clock: What seconds are taken from.
        max_rows: A pass with more rows has no room; ``None``: as many as there is memory for.
    """

    def __init__(
        self,
        model: LanguageModel,
        stream: MixtureStream,
        recipe: Recipe,
        size: int | None,
        clock: Callable[[], float] = time.perf_counter,
        max_rows: int | None = None,
    ) -> None:
        self._model = model
        self._stream = stream
        self._recipe = recipe
        self._clock = clock
        self._max_rows = max_rows
        self._trainer = PackedTrainer(model, stream, recipe, max_rows)
        self._probe = size is None
        self._full = self._size = size or 1
        self._waiting: list[Run] = []
        self._parked: deque[_Rider] = deque()
        self._riding: list[_Rider] = []
        self._open: set[int] = set()
        self._ended: list[Run] = []

    @property
    def size(self) -> int:
        """Return how many seats there are now."""
        return self._size

    def run(self, runs: Sequence[Run]) -> Iterator[Run]:
        """Bring every run to its end; yield them as they end.

        Raises:
            StorageError: Nothing can be written; no run is at fault.
        """
        self._trainer = PackedTrainer(self._model, self._stream, self._recipe, self._max_rows)
        self._size = self._full
        self._waiting, self._open = list(runs), {id(r) for r in runs}
        self._parked.clear()
        self._riding.clear()
        together = self._fit(runs)
        while self._waiting or self._parked or self._riding:
            self._board(together)
            if self._riding:
                self._step()
            elif self._waiting and not self._ended:
                self._go_alone(self._waiting.pop(0))
            yield from self._ended
            self._ended.clear()

    def _fit(self, runs: Sequence[Run]) -> set[int]:
        """Return the identities of the runs that can share passes."""
        if self._size == 1 and not self._probe:
            return set()
        plain = {id(r) for r in runs if r.packs and method_of(r.config) in PLAIN}
        return plain if len(plain) > 1 and not self._why_unpacked else set()

    @cached_property
    def _why_unpacked(self) -> str:
        return why_unpacked(self._model)

    def _go_alone(self, run: Run) -> None:
        run.alone()
        self._close(run)

    def _close(self, run: Run) -> None:
        self._open.discard(id(run))
        self._ended.append(run)

    def _board(self, together: set[int]) -> None:
        """Fill the free seats, those that had to leave first."""
        while len(self._riding) < self._size:
            if self._parked:
                rider = self._parked.popleft()
                self._riding.append(rider)
                self._trainer.join(rider.member)
                continue
            ready = (
                r
                for r in self._waiting
                if id(r) in together and not any(id(w) in self._open for w in r.waits_for)
            )
            run = next(ready, None)
            if run is None:
                return
            self._waiting.remove(run)
            self._begin(run)

    def _begin(self, run: Run) -> None:
        began = self._clock()
        try:
            member = Member(low_rank(self._model, run.config, run.seed), run.seed, self._recipe)
            run.begin(member)
        except FAULTS as err:
            if out_of_memory(err) and self._riding:  # once a seat is free there may be room
                self._size = len(self._riding)
                self._waiting.insert(0, run)
            else:
                run.failed(err, None)
                self._close(run)
            return
        finally:
            run.eval_s += self._clock() - began
        rider = _Rider(run, member, list(run.stops)[::-1])
        self._riding.append(rider)
        self._trainer.join(member)
        self._go_on(rider)

    def _go_on(self, rider: _Rider) -> None:
        """Head for the next stop, or end after the last one."""
        if rider.ahead:
            rider.member.head_for(self._stream, rider.ahead.pop())
            return
        try:
            rider.run.arrived(rider.member)
        except FAULTS as err:
            rider.run.failed(err, rider.member)
        self._leave(rider)
        self._close(rider.run)

    def _leave(self, rider: _Rider) -> None:
        if rider in self._riding:
            self._riding.remove(rider)
            self._trainer.leave(rider.member)
        else:
            self._parked.remove(rider)

    def _step(self) -> None:
        """Take one step of the pack and measure those that have reached a stop."""
        began = self._clock()
        riders = list(self._riding)
        weights = [sum(len(row.ids) for row in r.member.rows) for r in riders]
        saved = SavedBytes(self._model) if self._probe else None
        try:
            with nullcontext() if saved is None else saved:
                failed = self._trainer.step()
        except FAULTS as err:
            self._stumble(err)
            return
        finally:
            seconds = self._clock() - began
            for rider, weight in zip(riders, weights, strict=True):
                rider.run.train_s += seconds * weight / sum(weights)
        if saved is not None:
            self._probe = False
            self._full = self._size = self._measured(riders[0].member, weights[0], saved.total)
        for rider in riders:
            if rider.member in failed:
                self._fail(rider, failed[rider.member])
            elif rider.member.arrived:
                self._measure(rider)

    def _measured(self, member: Member, tokens: int, saved: int) -> int:
        state = 5 * sum(p.nbytes for p in member.adapter.params.values())
        longest = self._stream.longest * self._recipe.batch_size
        activations = saved * max(longest / tokens, 1.0)
        return pack_size(self._model.device, int(activations) + state, tokens)

    def _measure(self, rider: _Rider) -> None:
        while True:
            began = self._clock()
            try:
                with rider.member.adapter.folded(self._model):
                    rider.run.reached(rider.member.progress())
            except FAULTS as err:
                if out_of_memory(err) and len(self._riding) > 1:
                    self._halve()
                    continue
                self._fail(rider, err)
                return
            finally:
                rider.run.eval_s += self._clock() - began
            self._go_on(rider)
            return

    def _stumble(self, err: Exception) -> None:
        """After a step that nobody took: fewer try again, or the only one is at fault."""
        if len(self._riding) > 1:
            self._halve()
            return
        self._fail(self._riding[0], err)
        self._size = self._full  # it was this run's fault, not the pack's

    def _halve(self) -> None:
        self._size = len(self._riding) // 2
        for rider in reversed(self._riding[self._size :]):
            self._leave_for_now(rider)
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _leave_for_now(self, rider: _Rider) -> None:
        self._riding.remove(rider)
        self._trainer.leave(rider.member)
        rider.member.settle()
        self._parked.appendleft(rider)

    def _fail(self, rider: _Rider, err: Exception) -> None:
        self._leave(rider)
        rider.run.failed(err, rider.member)
        self._close(rider.run)
