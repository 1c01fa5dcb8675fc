"""One training run scored on the questions of several tasks at once: what tables are made of."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from jobs_bench.errors import OptionError
from jobs_bench.evaluator.pack import Pack, Run
from jobs_bench.evaluator.scoring import HeldOut, Scorer, summarise
from jobs_bench.fidelity import Fidelity
from jobs_bench.space.configuration import Configuration
from jobs_bench.task.finetune import FineTune, Question
from jobs_bench.train.adapter import trainable
from jobs_bench.train.batches import MixtureStream
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.packed import Member
from jobs_bench.train.trainer import DivergedError, Progress, Trainer
from jobs_bench.trial import Status, Value

CPU_EVAL_TOKENS = 512
"""Padded tokens of a batch on the CPU: small models are a third faster than with 2048 (cache)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What was measured at a step: visible and (at the horizon) hidden metrics by task."""

    step: int
    visible: Mapping[str, Mapping[str, Value]]
    hidden: Mapping[str, Mapping[str, Value]]
    domain_losses: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A training run: how it ended, its curve, its seconds (of CPU time on a CPU)."""

    status: Status
    curve: tuple[Reading, ...]
    run_s: float
    error: str = ""


class Recorder:
    """Trains a configuration to the horizon and scores it on every task's questions on the way.

    Each different question is asked once a step, however many tasks have it. Training is that of a
    live trial; scores may differ from a live one's in the last bits, since questions are batched
    with others.

    Args:
        specs: What each task would hand to the evaluator, by task name.
        steps: Steps to score at, ascending, ending at the horizon.
        device: Where to run; default: the first GPU, else the CPU.
        pack: Trials that share a pass, at most; ``None``: as the memory allows.

    Attributes:
        model: The base model.
        recipe: The tasks', with `steps` as its fidelity.
        stream: Where batches come from.
        clock: Seconds: of CPU time on a CPU, since other work on the machine shall not change what
            a table says of a run; of the wall on a GPU.

    Raises:
        OptionError: Tasks that do not train alike, or steps that do not end at the horizon.
    """

    def __init__(
        self,
        specs: Mapping[str, FineTune],
        steps: Sequence[int],
        device: torch.device | None = None,
        pack: int | None = 1,
    ) -> None:
        first_name, first = next(iter(specs.items()))
        for name, spec in specs.items():
            if (spec.domains, spec.recipe, spec.model_path, spec.generation) != (
                first.domains, first.recipe, first.model_path, first.generation,
            ):  # fmt: skip
                raise OptionError(
                    f"{name} does not train as {first_name} does (domains, recipe, model); wanted "
                    "tasks that one training run can serve"
                )
        if list(steps) != sorted(set(steps)) or steps[-1] != first.recipe.fidelity.horizon:
            raise OptionError(
                f"got the steps {list(steps)}; wanted them ascending to the horizon, "
                f"{first.recipe.fidelity.horizon}"
            )
        self.recipe = replace(first.recipe, fidelity=Fidelity(tuple(steps)))
        where = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = LanguageModel(Path(first.model_path), where)
        self.clock = time.process_time if where.type == "cpu" else time.perf_counter
        if where.type == "cpu":
            tokens = min(self.recipe.eval_tokens, CPU_EVAL_TOKENS)
            self.recipe = replace(self.recipe, eval_tokens=tokens)
        recipe = self.recipe
        self.stream = MixtureStream(
            self.model,
            first.domains,
            recipe.batch_size,
            min(recipe.max_length, self.model.context),
            recipe.sampling == "stratified",
        )
        self._pack = Pack(self.model, self.stream, recipe, pack, self.clock)
        rows = {d.name: d.held_out for d in first.domains if d.held_out}
        self._held_out = HeldOut(self.model, rows, recipe.max_length, recipe.eval_tokens)
        self._visible = self._asker({n: s.visible for n, s in specs.items()}, first)
        self._hidden = self._asker({n: s.hidden for n, s in specs.items()}, first)

    def run(self, config: Configuration, seed: int) -> Recorded:
        """Return the recorded run of `config`; a divergence is an outcome."""
        run = _RecordedRun(self, config, seed)
        run.alone()
        return run.recorded()

    def run_all(
        self, trials: Sequence[tuple[Configuration, int]]
    ) -> Iterator[tuple[int, Recorded]]:
        """Yield the place in `trials` and the recorded run of each, as they end."""
        runs = [_RecordedRun(self, config, seed) for config, seed in trials]
        places = {id(run): i for i, run in enumerate(runs)}
        for ended in self._pack.run(runs):
            place = places[id(ended)]
            yield place, runs[place].recorded()

    def base(self) -> dict[str, dict[str, Value]]:
        """Return the hidden metrics of the untrained model by task."""
        return self._hidden.ask()

    def read(self, step: int) -> Reading:
        """Return what the model scores now, at `step`.

        Raises:
            DivergedError: A score is not finite.
        """
        visible = self._visible.ask()
        for metrics in visible.values():
            if not all(math.isfinite(v.mean) for v in metrics.values()):
                raise DivergedError(step, "a score", 0)
        at_end = step == self.recipe.fidelity.horizon
        losses, _ = self._held_out.losses()
        return Reading(step, visible, self._hidden.ask() if at_end else {}, losses)

    def _asker(self, groups: Mapping[str, Sequence[Question]], spec: FineTune) -> _Asker:
        distinct = list(dict.fromkeys(q for questions in groups.values() for q in questions))
        scorer = Scorer(self.model, distinct, spec.generation, self.recipe.eval_tokens)
        at = {question: i for i, question in enumerate(distinct)}
        return _Asker(scorer, {n: [at[q] for q in qs] for n, qs in groups.items()})


class _RecordedRun:
    """A run on its way; see `jobs_bench.evaluator.pack.Run`."""

    waits_for: Sequence[Run] = ()
    packs = True

    def __init__(self, recorder: Recorder, config: Configuration, seed: int) -> None:
        self._recorder = recorder
        self.config = config
        self.seed = seed
        self.stops: Sequence[int] = recorder.recipe.fidelity.steps
        self.train_s = self.eval_s = 0.0
        self._curve: list[Reading] = []
        self._status: Status = "ok"
        self._error = ""

    def recorded(self) -> Recorded:
        """Return the run as it stands."""
        seconds = self.train_s + self.eval_s
        return Recorded(self._status, tuple(self._curve), seconds, self._error)

    def begin(self, member: Member) -> None:
        """Begin at step 0, where a fresh member stands."""

    def reached(self, progress: Progress) -> None:
        """Score at a stop."""
        self._curve.append(self._recorder.read(progress.step))

    def arrived(self, member: Member) -> None:
        """Keep nothing."""

    def failed(self, err: Exception, member: Member | None) -> None:
        """Note a divergence; anything else stops the recording.

        Raises:
            Exception: `err`.
        """
        del member
        if not isinstance(err, DivergedError):
            raise err
        self._status, self._error = "diverged", str(err)

    def alone(self) -> None:
        """Train and score without a pack."""
        recorder = self._recorder
        began = recorder.clock()
        try:
            with trainable(recorder.model, self.config, self.seed) as adapted:
                trainer = Trainer(adapted, recorder.stream, recorder.recipe, self.seed)
                for progress in trainer.run(list(self.stops)):
                    with adapted.folded():
                        self.reached(progress)
        except DivergedError as err:
            self.failed(err, None)
        self.train_s += recorder.clock() - began


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks the questions of all tasks once and sums up each task's own."""

    scorer: Scorer
    groups: Mapping[str, Sequence[int]]

    def ask(self) -> dict[str, dict[str, Value]]:
        rows, _ = self.scorer.grade()
        return {name: summarise([rows[i] for i in at]) for name, at in self.groups.items()}
