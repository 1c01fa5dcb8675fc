"""A segment on its way through training and scoring, in a pack or by itself: the same outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jobs_bench.errors import ContractError
from jobs_bench.evaluator.attempt import FAULTS, Attempt, Lap
from jobs_bench.evaluator.online import Ground, Online
from jobs_bench.evaluator.pack import Run
from jobs_bench.train.adapter import Adapted, trainable
from jobs_bench.train.checkpoint import Checkpoints
from jobs_bench.train.low_rank import LowRank, low_rank
from jobs_bench.train.merging import merged
from jobs_bench.train.packed import Member
from jobs_bench.train.trainer import DivergedError, Progress, Trainer
from jobs_bench.trial import Outcome, Point, Segment

Measure = Callable[[int], tuple[Point, int]]
"""From a step to the model's point there and the tokens that it took."""


class SegmentRun:
    """One segment; see `jobs_bench.evaluator.pack.Run` for what a pack asks of it.

    Args:
        segment: What to run.
        ground: What it runs on.
        stops: Steps to measure at, ascending.
        measure: Scores the model as it is.
        checkpoints: Where the trial's states are; ``None``: none is read or kept.
        export: Folder for the trained adapter or model; only for a segment that goes alone.
        waits_for: Segments that must have ended before this one begins.
    """

    def __init__(
        self,
        segment: Segment,
        ground: Ground,
        stops: Sequence[int],
        measure: Measure,
        checkpoints: Checkpoints | None,
        export: Path | None = None,
        waits_for: Sequence[Run] = (),
    ) -> None:
        self._segment = segment
        self._ground = ground
        self._measure = measure
        self._checkpoints = checkpoints
        self._export = export
        self._attempt = Attempt(segment, ground.facts)
        self.config = segment.config
        self.seed = segment.seed
        self.stops = stops
        self.waits_for = waits_for
        self.packs = not (segment.controller or segment.merge)
        self.train_s = 0.0
        self.eval_s = 0.0

    def outcome(self) -> Outcome:
        """Return what became of the segment."""
        return self._attempt.outcome(self.train_s, self.eval_s)

    def begin(self, member: Member) -> None:
        """Bring a fresh member to where the trial stands."""
        self._restore(member)

    def reached(self, progress: Progress, shares: Mapping[str, float] | None = None) -> None:
        """Measure at a stop, which rows by `shares` led to where a controller set them.

        Raises:
            DivergedError: The score is not finite.
        """
        point, tokens = self._measure(progress.step)
        self._attempt.scored(tokens)
        if not math.isfinite(point.score.mean):
            raise DivergedError(progress.step, "the score", progress.tokens)
        self._attempt.points.append(replace(point, shares=shares) if shares else point)

    def arrived(self, member: Member) -> None:
        """Keep the trial's state."""
        self._attempt.trained(member.tokens, member.step)
        self._keep(member)

    def failed(self, err: Exception, member: Member | Trainer | None) -> None:
        """Note a failure; steps since the last stop were paid too.

        Raises:
            StorageError: No trial is at fault: the study stops and can be resumed.
        """
        if member is not None:
            self._attempt.trained(member.tokens, member.step)
        self._attempt.failed(err)

    def alone(self) -> None:
        """Train and score without a pack; a merged trial is only scored."""
        if self._segment.merge:
            self._merged()
            return
        lap = Lap()
        trainer: Trainer | None = None
        ground, seed = self._ground, self.seed
        try:
            online = self._online()
            with trainable(ground.model, self.config, seed) as adapted:
                trainer = Trainer(adapted, ground.stream, ground.recipe, seed)
                self._restore(trainer, online)
                self.eval_s += lap()
                ends = [] if online is None else online.begin(adapted)
                self.eval_s += lap()
                for progress in trainer.run(sorted({*self.stops, *ends}), online):
                    self.train_s += lap()
                    if progress.step in self.stops:
                        with adapted.folded():
                            self.reached(progress, None if online is None else online.shares)
                    if online is not None and progress.step in ends:
                        self._attempt.trained(trainer.tokens, trainer.step)
                        online.end_round(adapted, progress.step)
                    self.eval_s += lap()
                self._attempt.trained(trainer.tokens, trainer.step)
                self._keep(trainer, online)
                self._write(adapted)
        except FAULTS as err:
            self.train_s += lap()
            self.failed(err, trainer)

    def _merged(self) -> None:
        """Score the sum of the parents' adapters; nothing is kept of it."""
        lap = Lap()
        model, segment = self._ground.model, self._segment
        try:
            parts = [(self._parent(i), c) for i, c in segment.merge]
            with merged(parts).folded(model):
                self.reached(Progress(segment.until, 0, math.nan))
        except FAULTS as err:
            self.failed(err, None)
        self.eval_s += lap()

    def _parent(self, trial_id: int) -> LowRank:
        """Return the adapter of a parent, which is like this trial's but for its values."""
        if self._checkpoints is None:
            raise ContractError(
                f"trial {self._segment.trial_id} is merged from trials whose states are not kept"
            )
        adapter = low_rank(self._ground.model, self.config, self.seed)
        adapter.load(self._checkpoints.load(trial_id, self._segment.until).params)
        return adapter

    def _online(self) -> Online | None:
        """Return the rounds of a controlled segment; before its first step, make the proxy runs."""
        segment = self._segment
        if not segment.controller:
            return None
        return Online(segment, self._ground, self._attempt)

    def _restore(self, who: Member | Trainer, online: Online | None = None) -> None:
        segment = self._segment
        if segment.start and self._checkpoints is not None:
            source = segment.trial_id if segment.parent is None else segment.parent
            state = self._checkpoints.load(source, segment.start)
            who.restore(state)
            if online is not None:
                online.restore(state.online)

    def _keep(self, who: Member | Trainer, online: Online | None = None) -> None:
        if self._checkpoints is not None:
            state = who.state()
            if online is not None:
                state = replace(state, online=online.state())
            self._checkpoints.save(self._segment.trial_id, state)

    def _write(self, adapted: Adapted) -> None:
        if self._export is not None:
            model = self._ground.model
            target = model.hf if adapted.wrapped is None else adapted.wrapped
            target.save_pretrained(self._export)
            model.tokenizer.save_pretrained(self._export)
