"""One trial's training from one step to another: AdamW on the horizon's schedule.

Everything a step does depends on (configuration, seed, step) and on the state before it alone:
batches come from the mixture stream, dropout from a seed made of the trial's seed and the step, the
learning rate from the step's place on the horizon. Hence 0-200 and then 200-400 equals 0-400.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from jobs_bench.errors import JobsBenchError
from jobs_bench.task.finetune import Recipe
from jobs_bench.train.adapter import Adapted
from jobs_bench.train.batches import Batch, MixtureStream
from jobs_bench.train.checkpoint import State

EPSILON = 1e-8  # AdamW's


class DivergedError(JobsBenchError):
    """A loss or gradient that is not finite.

    Attributes:
        step: Step at which it was seen.
        tokens: Tokens trained on in this segment before it, padding excluded.
    """

    def __init__(self, step: int, what: str, tokens: int) -> None:
        self.step = step
        self.tokens = tokens
        super().__init__(f"{what} at step {step} is not finite")


@dataclass(slots=True)
class Progress:
    """What a stretch of steps came to.

    Attributes:
        step: Optimiser steps taken.
        tokens: Tokens since the segment began, padding excluded.
        loss: Mean loss a labelled token over the stretch.
    """

    step: int
    tokens: int
    loss: float


class Guide(Protocol):
    """Who chooses the batches of a trial whose mixture changes, and watches its steps."""

    def batches(self, start: int, until: int) -> Iterable[Batch]:
        """Return the batches of the steps ``start + 1 .. until``, made as they are asked for."""
        ...

    def saw(self, batch: Batch, logits: Tensor) -> None:
        """Take in the ``(n, V)`` logits of a step's labels, before the update."""
        ...


def learning_rate(recipe: Recipe, peak: float, step: int) -> float:
    """Return the rate of step `step` (from 1) on the schedule of a full run.

    Linear warm-up over ``warmup_steps``, then ``linear`` or ``cosine`` to ``final_lr * peak`` at
    the horizon, or ``constant``.
    """
    if step <= recipe.warmup_steps:
        return peak * step / recipe.warmup_steps
    span = max(recipe.fidelity.horizon - recipe.warmup_steps, 1)
    done = min((step - recipe.warmup_steps) / span, 1.0)
    if recipe.schedule == "constant":
        return peak
    left = 0.5 * (1 + math.cos(math.pi * done)) if recipe.schedule == "cosine" else 1 - done
    return peak * (recipe.final_lr + (1 - recipe.final_lr) * left)


def step_seed(seed: int, step: int) -> int:
    """Return the seed of a step's dropout masks."""
    return seed % (1 << 40) * (1 << 20) + step


def at_least_single(logits: Tensor) -> Tensor:
    """Return logits in float32, or in float64 where they are."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


class Trainer:
    """Trains one adapted model.

    Args:
        adapted: Model with trainable parameters.
        stream: Where batches come from.
        recipe: What is the same for every trial.
        seed: The trial's.
    """

    def __init__(self, adapted: Adapted, stream: MixtureStream, recipe: Recipe, seed: int) -> None:
        self._adapted = adapted
        self._stream = stream
        self._recipe = recipe
        self._seed = seed
        self._peak = adapted.config.number("learning_rate", recipe.learning_rate)
        self._names = list(adapted.params)
        self._params: list[Tensor] = list(adapted.params.values())
        self._m = [torch.zeros_like(p) for p in self._params]
        self._v = [torch.zeros_like(p) for p in self._params]
        self._step = 0
        self.tokens = 0

    @property
    def step(self) -> int:
        """Return the optimiser steps taken."""
        return self._step

    def restore(self, state: State) -> None:
        """Go on from a checkpoint."""
        self._adapted.load(state.params)
        for name, m, v in zip(self._names, self._m, self._v, strict=True):
            m.copy_(state.moments[f"{name}.m"])
            v.copy_(state.moments[f"{name}.v"])
        self._step = state.step

    def state(self) -> State:
        """Return where the trial stands."""
        moments: dict[str, Tensor] = {}
        for name, m, v in zip(self._names, self._m, self._v, strict=True):
            moments[f"{name}.m"], moments[f"{name}.v"] = m.clone(), v.clone()
        key = self._adapted.config.key()
        return State(self._step, key, self._adapted.state(), moments)

    def run(self, stops: list[int], guide: Guide | None = None) -> Iterator[Progress]:
        """Train to each of the ascending steps `stops`, yielding at each.

        Args:
            stops: Steps above the one that the trial stands at.
            guide: Chooses the batches; ``None``: they are those of the configuration's mixture.

        Raises:
            DivergedError: A loss or a gradient is not finite.
        """
        hf = self._adapted.model.hf
        for stop in stops:
            total, labelled = 0.0, 0
            hf.train()
            try:
                for batch in self._batches(stop, guide):
                    total += self._train(batch, guide) * batch.labels.numel()
                    labelled += batch.labels.numel()
            finally:
                hf.eval()
            yield Progress(self._step, self.tokens, total / labelled)

    def _batches(self, stop: int, guide: Guide | None) -> Iterable[Batch]:
        if guide is not None:
            return guide.batches(self._step, stop)
        mixture = self._adapted.config.mixture()
        return self._stream.batches(mixture, self._seed, self._step, stop)

    def _train(self, batch: Batch, guide: Guide | None = None) -> float:
        model = self._adapted.model
        step = self._step + 1
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(step_seed(self._seed, step))
            logits = model.logits_at(batch.input_ids, batch.predicts)
            loss = cross_entropy(at_least_single(logits), batch.labels)
            grads = torch.autograd.grad(loss, self._params)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise DivergedError(step, "the loss", self.tokens)
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads))))
        if not math.isfinite(norm):
            raise DivergedError(step, "the gradient", self.tokens)
        if guide is not None:
            guide.saw(batch, logits.detach())
        self._update(list(grads), norm, step)
        self._step = step
        self.tokens += batch.tokens
        return value

    @torch.no_grad()
    def _update(self, grads: list[Tensor], norm: float, step: int) -> None:
        """AdamW (Loshchilov and Hutter, 2019) with global clipping, one fused sweep."""
        recipe = self._recipe
        if norm > recipe.max_grad_norm > 0:
            torch._foreach_mul_(grads, recipe.max_grad_norm / (norm + 1e-6))
        b1, b2 = recipe.betas
        rate = learning_rate(recipe, self._peak, step)
        if recipe.weight_decay:
            torch._foreach_mul_(self._params, 1 - rate * recipe.weight_decay)
        torch._foreach_lerp_(self._m, grads, 1 - b1)
        torch._foreach_mul_(self._v, b2)
        torch._foreach_addcmul_(self._v, grads, grads, 1 - b2)
        denominator = torch._foreach_sqrt(self._v)
        torch._foreach_div_(denominator, math.sqrt(1 - b2**step))
        torch._foreach_add_(denominator, EPSILON)
        torch._foreach_addcdiv_(self._params, self._m, denominator, -rate / (1 - b1**step))
