"""A low-rank adapter apart from any model: what one trial of a pack owns.

It is born by PEFT on the base model, so that its initial weights, its names and its scaling are
PEFT's, and then taken off: the pack applies it, and `Adapted` takes it back for scoring and export.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from jobs_bench.errors import SpaceError
from jobs_bench.space.configuration import Configuration
from jobs_bench.train.adapter import fill, method_of, trainable
from jobs_bench.train.language_model import LanguageModel

PLAIN = ("lora", "rslora")
"""Methods whose adapter adds ``B A x`` times a constant and does nothing else."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one pair of matrices goes.

    Attributes:
        path: Of the linear module in the base model.
        down: Name of ``A``, ``(r, in)``.
        up: Name of ``B``, ``(out, r)``.
        rank: ``r``.
        scaling: Factor of ``B A x``.
        dropout: Share of the inputs of ``A`` that are dropped in training.
    """

    path: str
    down: str
    up: str
    rank: int
    scaling: float
    dropout: float


class LowRank:
    """A trial's adapter.

    Attributes:
        config: What was asked for.
        places: Where it goes, in the order of the modules.
        params: Its matrices under PEFT's names. The pack replaces the tensors by views of its own.
    """

    def __init__(
        self, config: Configuration, places: tuple[Place, ...], params: dict[str, Tensor]
    ) -> None:
        self.config = config
        self.places = places
        self.params = params

    def state(self) -> dict[str, Tensor]:
        """Return copies of the matrices."""
        return {n: p.clone(memory_format=torch.contiguous_format) for n, p in self.params.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Put values into the matrices.

        Raises:
            SpaceError: Other names or shapes, as when forking into another configuration.
        """
        fill(self.config, self.params, state)

    @contextmanager
    def folded(self, model: LanguageModel) -> Iterator[None]:
        """Add the update to the weights of `model`: scoring then costs what the base costs.

        At the end the base model is the same as before, to the bit.
        """
        modules: list[Any] = [model.hf.get_submodule(place.path) for place in self.places]
        before = [module.weight.data for module in modules]
        try:
            with torch.no_grad():
                for place, module, weight in zip(self.places, modules, before, strict=True):
                    update = self.params[place.up] @ self.params[place.down]
                    update = update.T if isinstance(module, Conv1D) else update
                    module.weight.data = weight + update * place.scaling
            yield
        finally:
            for module, weight in zip(modules, before, strict=True):
                module.weight.data = weight


def low_rank(model: LanguageModel, config: Configuration, seed: int) -> LowRank:
    """Return a fresh adapter for `config`, equal to the one that `trainable` puts on the model.

    Raises:
        SpaceError: The method is not plain low rank.
    """
    if method_of(config) not in PLAIN:
        raise SpaceError(f"got method={method_of(config)!r}; wanted {' or '.join(PLAIN)}")
    with trainable(model, config, seed) as adapted:
        params = {name: p.detach() for name, p in adapted.params.items()}
        root = "base_model.model."
        places = tuple(
            _place(name, layer, name.removeprefix(root))
            for name, layer in adapted.wrapped.named_modules()
            if isinstance(layer, LoraLayer)
        )
    return LowRank(config, places, params)


def _place(name: str, layer: Any, path: str) -> Place:
    (active,) = layer.active_adapters
    return Place(
        path,
        f"{name}.lora_A.{active}.weight",
        f"{name}.lora_B.{active}.weight",
        int(layer.r[active]),
        float(layer.scaling[active]),
        float(getattr(layer.lora_dropout[active], "p", 0.0)),
    )
