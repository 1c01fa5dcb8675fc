"""The shared evaluator: trains adapters, scores questions, charges what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from jobs_bench.budget import Charge
from jobs_bench.errors import ContractError
from jobs_bench.evaluator.attempt import Lap
from jobs_bench.evaluator.online import Ground
from jobs_bench.evaluator.pack import Pack
from jobs_bench.evaluator.scoring import Scorer
from jobs_bench.evaluator.segment_run import SegmentRun
from jobs_bench.evaluator.stock import Stock
from jobs_bench.space.configuration import Configuration
from jobs_bench.task.contract import ModelFacts
from jobs_bench.task.cost import eval_flop
from jobs_bench.task.finetune import FineTune
from jobs_bench.train.adapter import trainable
from jobs_bench.train.checkpoint import Checkpoints
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.trial import Outcome, Point, Segment, Value


class FineTuneEvaluator:
    """Runs segments of a fine-tuning task.

    The base model is loaded at the first use and stays; adapters come and go. Plain low-rank trials
    of a batch can share passes over it: their outcomes are then the same up to the order of
    floating-point sums. One after the other, they are the same to the bit whatever the batch.

    Args:
        spec: What the task gave.
        facts: Of the base model.
        workdir: Folder for checkpoints.
        device: Where to run; default: the first GPU, else the CPU.
        pack: Trials that share a pass, at most; 1: they go one after the other; ``None``: as many
            as the memory has room for and as gain something.
        max_rows: A pass with more rows has no room; ``None``: as many as there is memory for.
        stock: Of the same spec, shared with other evaluators; `device` is its own then.
    """

    def __init__(
        self,
        spec: FineTune,
        facts: ModelFacts,
        workdir: Path,
        device: torch.device | None = None,
        pack: int | None = 1,
        max_rows: int | None = None,
        stock: Stock | None = None,
    ) -> None:
        self._spec = spec
        self._facts = facts
        self._checkpoints = Checkpoints(workdir)
        device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._stock = stock or Stock(spec, device)
        self._pack_size = pack
        self._max_rows = max_rows
        self._pack: Pack | None = None

    def run(self, segments: Sequence[Segment]) -> list[Outcome]:
        """Return one outcome a segment, in order."""
        return self._run(segments, self._stock.scorer(hidden=False), keep=True)

    def oracle(self, config: Configuration | None, seeds: Sequence[int]) -> list[Outcome]:
        """Return full runs of `config` scored on the hidden items, one a seed."""
        if config is None:
            return [self._base_model(self._stock.scorer(hidden=True))]
        return self.controlled_oracle(config, "", seeds)

    def controlled_oracle(
        self, config: Configuration, controller: str, seeds: Sequence[int]
    ) -> list[Outcome]:
        """Return full runs of `config` under a controller, scored on the hidden items."""
        horizon = self._spec.recipe.fidelity.horizon
        segments = [Segment(0, config, 0, horizon, s, controller=controller) for s in seeds]
        return self._run(segments, self._stock.scorer(hidden=True), keep=False)

    def discard(self, trial_id: int) -> None:
        """Drop the checkpoints of a trial that will never be resumed."""
        self._checkpoints.discard(trial_id)

    def close(self) -> None:
        """Let go of the model."""
        self._stock = Stock(self._spec, self._stock.device)
        self._pack = None

    def warm(self, config: Configuration) -> None:
        """Load and tokenise what every trial needs; put the adapter of `config` on, and off."""
        self._stock.scorer(hidden=False)
        with trainable(self.model, config, 0):  # peft imports its layers when they are wanted
            pass

    def export(
        self, config: Configuration, seed: int, folder: Path, controller: str = ""
    ) -> Outcome:
        """Train `config` to the horizon and write it to `folder`; return the oracle's outcome.

        An adapter is written as PEFT writes it (``PeftModel.from_pretrained`` reads it), ``full``
        as a whole model.
        """
        horizon = self._spec.recipe.fidelity.horizon
        segment = Segment(0, config, 0, horizon, seed, controller=controller)
        (outcome,) = self._run(
            [segment], self._stock.scorer(hidden=True), keep=False, export=folder
        )
        return outcome

    @property
    def model(self) -> LanguageModel:
        """Return the base model, loaded at the first use."""
        return self._stock.model

    @property
    def stock(self) -> Stock:
        """Return what other evaluators of this process may share."""
        return self._stock

    def adopt(self, model: LanguageModel) -> None:
        """Use a model that is loaded already; evaluators of one process may share it."""
        self._stock = Stock(self._spec, model.device, model)

    def _point(self, step: int, scorer: Scorer, *, domains: bool) -> tuple[Point, int]:
        spec = self._spec
        scores = scorer.score()
        value = scores.metrics.get(spec.metric)
        if value is None:
            raise ContractError(
                f"the questions give {', '.join(scores.metrics)}; wanted the metric {spec.metric}"
            )
        sign = 1.0 if spec.higher_is_better else -1.0
        losses, tokens = self._stock.domain_losses.losses() if domains else ({}, 0)
        score = Value(sign * value.mean, value.se, value.n)
        items = {n: v for n, v in scores.items.items() if n in (spec.metric, "gold_logprob")}
        return Point(step, score, scores.metrics, losses, items), scores.tokens + tokens

    def _base_model(self, scorer: Scorer) -> Outcome:
        segment = Segment(0, Configuration(), 0, 0, 0)
        lap = Lap()
        point, tokens = self._point(0, scorer, domains=False)
        charge = Charge("eval", tokens, eval_flop(self._facts, None, tokens), lap())
        return Outcome(segment, "ok", (point,), (charge,))

    def _run(
        self,
        segments: Sequence[Segment],
        scorer: Scorer,
        *,
        keep: bool,
        export: Path | None = None,
    ) -> list[Outcome]:
        recipe = self._spec.recipe
        ground = Ground(
            self.model,
            self._facts,
            self._stock.stream,
            recipe,
            lambda: self._stock.domain_losses.losses(),
            self._spec.visible,
        )
        steps = recipe.fidelity.steps if keep else (recipe.fidelity.horizon,)
        runs: list[SegmentRun] = []
        for i, segment in enumerate(segments):
            source = segment.trial_id if segment.parent is None else segment.parent
            before = [
                run
                for run, other in zip(runs, segments[:i], strict=True)
                if keep and other.trial_id in (source, segment.trial_id)
            ]
            stops = [s for s in steps if segment.start < s <= segment.until]
            runs.append(
                SegmentRun(
                    segment,
                    ground,
                    [segment.until] if segment.merge else stops,
                    lambda step: self._point(step, scorer, domains=keep),
                    self._checkpoints if keep else None,
                    export,
                    before,
                )
            )
        for _ in self._seats().run(runs):
            pass
        return [run.outcome() for run in runs]

    def _seats(self) -> Pack:
        if self._pack is None:
            recipe = self._spec.recipe
            self._pack = Pack(
                self.model, self._stock.stream, recipe, self._pack_size, max_rows=self._max_rows
            )
        return self._pack
