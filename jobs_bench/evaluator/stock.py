"""What the evaluators of a process can share: base model, tokenised rows and questions."""

from __future__ import annotations

from pathlib import Path

import torch

from jobs_bench.evaluator.scoring import HeldOut, Scorer
from jobs_bench.task.finetune import FineTune
from jobs_bench.train.batches import MixtureStream
from jobs_bench.train.language_model import LanguageModel


class Stock:
    """Everything that is the same for all trials of a task; each part is made when first used.

    Args:
        spec: What the task gave.
        device: Where the model runs.
        model: The base model where it is loaded already.
    """

    def __init__(
        self, spec: FineTune, device: torch.device, model: LanguageModel | None = None
    ) -> None:
        self.spec = spec
        self.device = device
        self._model = model
        self._stream: MixtureStream | None = None
        self._visible: Scorer | None = None
        self._hidden: Scorer | None = None
        self._held_out: HeldOut | None = None

    def serving(self, spec: FineTune) -> Stock:
        """Return a stock for `spec`: this one, or another one with the same model."""
        return self if spec == self.spec else Stock(spec, self.device, self._model)

    def load(self) -> LanguageModel:
        """Load the base model, unless it is loaded; return it."""
        if self._model is None:
            self._model = LanguageModel(Path(self.spec.model_path), self.device)
        return self._model

    @property
    def model(self) -> LanguageModel:
        """Return the base model."""
        return self.load()

    @property
    def stream(self) -> MixtureStream:
        """Return the training rows."""
        if self._stream is None:
            recipe = self.spec.recipe
            self._stream = MixtureStream(
                self.model,
                self.spec.domains,
                recipe.batch_size,
                min(recipe.max_length, self.model.context),
                recipe.sampling == "stratified",
            )
        return self._stream

    def scorer(self, *, hidden: bool) -> Scorer:
        """Return the visible or the hidden questions."""
        spec = self.spec
        made = self._hidden if hidden else self._visible
        if made is None:
            questions = spec.hidden if hidden else spec.visible
            made = Scorer(self.model, questions, spec.generation, spec.recipe.eval_tokens)
            if hidden:
                self._hidden = made
            else:
                self._visible = made
        return made

    @property
    def domain_losses(self) -> HeldOut:
        """Return the held-out rows of the domains."""
        if self._held_out is None:
            rows = {d.name: d.held_out for d in self.spec.domains if d.held_out}
            recipe = self.spec.recipe
            self._held_out = HeldOut(self.model, rows, recipe.max_length, recipe.eval_tokens)
        return self._held_out
