"""The shared evaluator: trains adapters, scores questions, charges what it cost."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch

from jobs_bench.budget import Charge
from jobs_bench.errors import ContractError, JobsBenchError, StorageError
from jobs_bench.evaluator.scoring import HeldOut, Scorer
from jobs_bench.space.configuration import Configuration
from jobs_bench.task.contract import ModelFacts
from jobs_bench.task.cost import eval_flop, train_flop
from jobs_bench.task.finetune import FineTune
from jobs_bench.train.adapter import trainable
from jobs_bench.train.batches import MixtureStream
from jobs_bench.train.checkpoint import Checkpoints
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.trainer import DivergedError, Trainer
from jobs_bench.trial import Outcome, Point, Segment, Status, Value


class FineTuneEvaluator:
    """Runs segments of a fine-tuning task, one after the other.

    The base model is loaded at the first use and stays; adapters come and go.

    Args:
        spec: What the task gave.
        facts: Of the base model.
        workdir: Folder for checkpoints.
        device: Where to run; default: the first GPU, else the CPU.
    """

    def __init__(
        self,
        spec: FineTune,
        facts: ModelFacts,
        workdir: Path,
        device: torch.device | None = None,
    ) -> None:
        self._spec = spec
        self._facts = facts
        self._checkpoints = Checkpoints(workdir)
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model: LanguageModel | None = None
        self._stream: MixtureStream | None = None
        self._visible: Scorer | None = None
        self._hidden: Scorer | None = None
        self._held_out: HeldOut | None = None

    def run(self, segments: Sequence[Segment]) -> list[Outcome]:
        """Return one outcome a segment, in order."""
        return [self._run(s, self._scorer(hidden=False), keep=True) for s in segments]

    def oracle(self, config: Configuration | None, seeds: Sequence[int]) -> list[Outcome]:
        """Return full runs of `config` scored on the hidden items, one a seed."""
        scorer = self._scorer(hidden=True)
        if config is None:
            return [self._base_model(scorer)]
        horizon = self._spec.recipe.fidelity.horizon
        segments = [Segment(0, config, 0, horizon, seed) for seed in seeds]
        return [self._run(s, scorer, keep=False) for s in segments]

    def discard(self, trial_id: int) -> None:
        """Drop the checkpoints of a trial that will never be resumed."""
        self._checkpoints.discard(trial_id)

    def close(self) -> None:
        """Let go of the model."""
        self._model = self._stream = self._visible = self._hidden = self._held_out = None

    def export(self, config: Configuration, seed: int, folder: Path) -> Outcome:
        """Train `config` to the horizon and write it to `folder`; return the oracle's outcome.

        An adapter is written as PEFT writes it (``PeftModel.from_pretrained`` reads it), ``full``
        as a whole model.
        """
        horizon = self._spec.recipe.fidelity.horizon
        segment = Segment(0, config, 0, horizon, seed)
        return self._run(segment, self._scorer(hidden=True), keep=False, export=folder)

    @property
    def model(self) -> LanguageModel:
        """Return the base model, loaded at the first use."""
        if self._model is None:
            self._model = LanguageModel(Path(self._spec.model_path), self._device)
        return self._model

    def adopt(self, model: LanguageModel) -> None:
        """Use a model that is loaded already; evaluators of one process may share it."""
        self._model = model

    def _batches(self) -> MixtureStream:
        if self._stream is None:
            recipe = self._spec.recipe
            self._stream = MixtureStream(
                self.model,
                self._spec.domains,
                recipe.batch_size,
                min(recipe.max_length, self.model.context),
                recipe.sampling == "stratified",
            )
        return self._stream

    def _scorer(self, *, hidden: bool) -> Scorer:
        spec = self._spec
        made = self._hidden if hidden else self._visible
        if made is None:
            questions = spec.hidden if hidden else spec.visible
            made = Scorer(self.model, questions, spec.generation, spec.recipe.eval_tokens)
            if hidden:
                self._hidden = made
            else:
                self._visible = made
        return made

    def _domain_losses(self) -> HeldOut:
        if self._held_out is None:
            rows = {d.name: d.held_out for d in self._spec.domains if d.held_out}
            recipe = self._spec.recipe
            self._held_out = HeldOut(self.model, rows, recipe.max_length, recipe.eval_tokens)
        return self._held_out

    def _point(self, step: int, scorer: Scorer, *, domains: bool) -> tuple[Point, int]:
        spec = self._spec
        scores = scorer.score()
        value = scores.metrics.get(spec.metric)
        if value is None:
            raise ContractError(
                f"the questions give {', '.join(scores.metrics)}; wanted the metric {spec.metric}"
            )
        sign = 1.0 if spec.higher_is_better else -1.0
        losses, tokens = self._domain_losses().losses() if domains else ({}, 0)
        score = Value(sign * value.mean, value.se, value.n)
        return Point(step, score, scores.metrics, losses), scores.tokens + tokens

    def _base_model(self, scorer: Scorer) -> Outcome:
        started = time.perf_counter()
        point, tokens = self._point(0, scorer, domains=False)
        flop = eval_flop(self._facts, None, tokens)
        charge = Charge("eval", tokens, flop, time.perf_counter() - started)
        return Outcome(Segment(0, Configuration(), 0, 0, 0), "ok", (point,), (charge,))

    def _run(
        self, segment: Segment, scorer: Scorer, *, keep: bool, export: Path | None = None
    ) -> Outcome:
        recipe = self._spec.recipe
        steps = recipe.fidelity.steps if keep else (recipe.fidelity.horizon,)
        stops = [s for s in steps if segment.start < s <= segment.until]
        points: list[Point] = []
        spent = _Spent(segment, self._facts)
        status: Status = "ok"
        error = ""
        trainer: Trainer | None = None
        try:
            with trainable(self.model, segment.config, segment.seed) as adapted:
                trainer = Trainer(adapted, self._batches(), recipe, segment.seed)
                if segment.start:
                    source = segment.trial_id if segment.parent is None else segment.parent
                    trainer.restore(self._checkpoints.load(source, segment.start))
                spent.lap_eval()
                for progress in trainer.run(stops):
                    spent.lap_train(progress.tokens, progress.step)
                    with adapted.folded():
                        point, tokens = self._point(progress.step, scorer, domains=keep)
                    spent.lap_eval(tokens)
                    if not math.isfinite(point.score.mean):
                        raise DivergedError(progress.step, "the score", progress.tokens)
                    points.append(point)
                if keep:
                    self._checkpoints.save(segment.trial_id, trainer.state())
                if export is not None:
                    target = self.model.hf if adapted.wrapped is None else adapted.wrapped
                    target.save_pretrained(export)
                    self.model.tokenizer.save_pretrained(export)
        except DivergedError as err:
            spent.lap_train(err.tokens, err.step)
            status, error = "diverged", str(err)
        except StorageError:
            raise  # no trial is at fault: the study stops and can be resumed
        except JobsBenchError as err:
            status, error = "crashed", str(err)
        except (MemoryError, torch.OutOfMemoryError) as err:
            status, error = "oom", str(err)
        except (RuntimeError, OSError, ValueError) as err:
            if "not enough memory" in str(err) or "can't allocate memory" in str(err):
                status, error = "oom", str(err)
            else:
                status = "crashed"
                error = "".join(traceback.format_exception(err, limit=-3))[-2000:]
        if status in ("oom", "crashed") and trainer is not None and trainer.tokens:
            spent.lap_train(trainer.tokens, trainer.step)  # steps since the last stop were paid too
        return Outcome(segment, status, tuple(points), spent.charges(), error)


class _Spent:
    """Tokens, operations and seconds of one segment, train and eval apart."""

    def __init__(self, segment: Segment, facts: ModelFacts) -> None:
        self._segment = segment
        self._facts = facts
        self._at = time.perf_counter()
        self._train_tokens = 0
        self._eval_tokens = 0
        self._steps = 0
        self._train_s = 0.0
        self._eval_s = 0.0

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._at = now - self._at, now
        return lap

    def lap_train(self, tokens_so_far: int, step: int) -> None:
        """Close a stretch of training."""
        self._train_s += self._lap()
        self._train_tokens = tokens_so_far
        self._steps = step - self._segment.start

    def lap_eval(self, tokens: int = 0) -> None:
        """Close a stretch of scoring."""
        self._eval_s += self._lap()
        self._eval_tokens += tokens

    def charges(self) -> tuple[Charge, ...]:
        """Return what it came to."""
        config, facts = self._segment.config, self._facts
        train = train_flop(facts, config, self._train_tokens, self._steps)
        evaluated = eval_flop(facts, config, self._eval_tokens)
        return (
            Charge("train", self._train_tokens, train, self._train_s),
            Charge("eval", self._eval_tokens, evaluated, self._eval_s),
        )
