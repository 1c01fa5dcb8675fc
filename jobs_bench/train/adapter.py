"""From a configuration to trainable parameters: PEFT adapters, or the layers themselves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PeftConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from jobs_bench.errors import SpaceError
from jobs_bench.space.configuration import Configuration
from jobs_bench.task.cost import GROUPS, adapted_layers, adapted_modules
from jobs_bench.train.language_model import LanguageModel

Trainable = dict[str, nn.Parameter]


def method_of(config: Configuration) -> str:
    """Return the method, ``lora`` where the space does not search it."""
    return str(config.get("method", "lora"))


def layer_modules(model: LanguageModel, config: Configuration) -> list[str]:
    """Return paths, relative to a layer, of the linear modules that `config` adapts.

    A group (``attention``, ``mlp``) holds every linear module of a layer whose path says so,
    whatever the architecture calls it; any other target is the last part of a path. IA3 keeps to
    the modules that it scales, where the model has modules of those names.

    Raises:
        SpaceError: The model has no such module.
    """
    _, layers = model.layers()
    paths = linear_paths(layers[0])
    targets = config.get("target_modules", tuple(GROUPS))
    wanted = (targets,) if isinstance(targets, str) else targets
    if not isinstance(wanted, tuple):
        raise SpaceError(f"got target_modules={targets!r}; wanted names")
    found = [p for p in paths if _group(p) in wanted or p.rsplit(".", 1)[-1] in wanted]
    if method_of(config) == "ia3":
        scaled = [p for p in found if p.rsplit(".", 1)[-1] in adapted_modules(config)]
        found = scaled or found
    if not found:
        raise SpaceError(f"got target_modules {wanted}; the layers have {', '.join(paths)}")
    return found


def linear_paths(layer: nn.Module) -> list[str]:
    """Return the paths of the linear modules of a layer."""
    return [n for n, module in layer.named_modules() if isinstance(module, (nn.Linear, Conv1D))]


def _is_transposed(layer: nn.Module, targets: list[str]) -> bool:
    """Return whether the weights of `targets` are stored transposed, as in GPT-2."""
    return any(isinstance(layer.get_submodule(t), Conv1D) for t in targets)


def _group(path: str) -> str:
    return "attention" if "att" in path.lower() else "mlp"


def peft_config(model: LanguageModel, config: Configuration) -> PeftConfig:
    """Return the PEFT configuration of an adapter.

    Raises:
        SpaceError: A method that is not an adapter, or modules that the model lacks.
    """
    method = method_of(config)
    name, layers = model.layers()
    targets = layer_modules(model, config)
    chosen = list(adapted_layers(config, len(layers)))
    pattern = name.rsplit(".", 1)[-1]
    if method == "ia3":
        exact = [f"{name}.{i}.{path}" for i in chosen for path in targets]
        inputs = [p for p in exact if p.rsplit(".", 1)[-1] in ("down_proj", "c_proj", "fc2")]
        return IA3Config(
            task_type="CAUSAL_LM",
            target_modules=exact,
            feedforward_modules=inputs,
            fan_in_fan_out=_is_transposed(layers[0], targets),
        )
    if method not in ("lora", "rslora", "dora"):
        raise SpaceError(f"got method={method!r}, which is no adapter")
    r = int(config.number("r"))
    root = math.sqrt(r) if method == "rslora" else r
    alpha = config.number("lora_alpha", config.number("scaling", 1.0) * root)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=r,
        lora_alpha=alpha,  # type: ignore[arg-type]  # a real number works and is exported as one
        lora_dropout=config.number("lora_dropout", 0.0),
        target_modules=targets,
        layers_to_transform=chosen,
        layers_pattern=pattern,
        use_rslora=method == "rslora",
        use_dora=method == "dora",
        fan_in_fan_out=_is_transposed(layers[0], targets),
    )


@contextmanager
def trainable(model: LanguageModel, config: Configuration, seed: int) -> Iterator[Adapted]:
    """Give `model` fresh trainable parameters for `config`; take them away at the end.

    Initial weights depend on `seed` alone. The base model is the same before and after, to the bit.
    """
    if method_of(config) == "full":
        _, layers = model.layers()
        prefix = model.layers()[0]
        chosen = adapted_layers(config, len(layers))
        params: Trainable = {
            f"{prefix}.{i}.{name}": p for i in chosen for name, p in layers[i].named_parameters()
        }
        before = {name: p.detach().clone() for name, p in params.items()}
        try:
            for p in params.values():
                p.requires_grad_(True)
            yield Adapted(model, config, params, None)
        finally:
            with torch.no_grad():
                for name, p in params.items():
                    p.requires_grad_(False).copy_(before[name])
                    p.grad = None
        return
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        with warnings.catch_warnings():  # peft 0.21 asks transformers 5 for a renamed property
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            wrapped: Any = get_peft_model(model.hf, peft_config(model, config))
    try:
        params = {n: p for n, p in wrapped.named_parameters() if p.requires_grad}
        yield Adapted(model, config, params, wrapped)
    finally:
        wrapped.unload()
        model.hf.requires_grad_(False)


class Adapted:
    """A model with trainable parameters on it.

    Attributes:
        model: The model, adapter included.
        config: What was asked for.
        params: Trainable parameters by name.
        wrapped: The `PeftModel`, ``None`` for ``full``.
    """

    def __init__(
        self, model: LanguageModel, config: Configuration, params: Trainable, wrapped: Any
    ) -> None:
        self.model = model
        self.config = config
        self.params = params
        self.wrapped = wrapped

    def state(self) -> dict[str, Tensor]:
        """Return copies of the trainable parameters."""
        return {n: p.detach().clone().contiguous() for n, p in self.params.items()}

    @contextmanager
    def folded(self) -> Iterator[None]:
        """Add low-rank updates to the weights they adapt: scoring then costs what the base costs.

        Scores are those of the adapter up to the order of floating-point sums. At the end the base
        model is the same as before, to the bit. DoRA and IA3 layers stay as they are.
        """
        modules: list[Any] = [] if self.wrapped is None else list(self.wrapped.modules())
        plain = [m for m in modules if isinstance(m, LoraLayer) and not m.lora_variant]
        before: list[tuple[Any, Any]] = [(m, m.get_base_layer().weight.data) for m in plain]
        try:
            with torch.no_grad():
                for layer, weight in before:
                    (name,) = layer.active_adapters
                    layer.get_base_layer().weight.data = weight + layer.get_delta_weight(name)
                    layer.merged_adapters.append(name)  # its forward adds nothing now
            yield
        finally:
            for layer, weight in before:
                layer.get_base_layer().weight.data = weight
                layer.merged_adapters.clear()

    def load(self, state: dict[str, Tensor]) -> None:
        """Put values into the trainable parameters.

        Raises:
            SpaceError: Other names or shapes, as when forking into another configuration.
        """
        fill(self.config, self.params, state)


@torch.no_grad()
def fill(config: Configuration, params: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Put the values of `state` into `params`, in place.

    Raises:
        SpaceError: It has other names or shapes; nothing has changed then.
    """
    have = {n: tuple(p.shape) for n, p in params.items()}
    got = {n: tuple(t.shape) for n, t in state.items()}
    if have != got:
        differ = sorted(n for n in have.keys() | got.keys() if have.get(n) != got.get(n))
        raise SpaceError(
            f"the checkpoint does not fit {method_of(config)}: {len(differ)} tensors differ, the "
            f"first is {differ[0]}: got {got.get(differ[0])}, wanted {have.get(differ[0])}"
        )
    for name, p in params.items():
        p.copy_(state[name])
