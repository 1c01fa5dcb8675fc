"""What training and scoring cost in floating-point operations: one formula for plan and charge.

A task's `cost` puts expected token counts in; the evaluator puts in the counts that were.

* Forward: ``2 * (N + A)`` a token, with N parameters of the model and A of the adapter.
* Backward: the gradient of the activations flows from the head down to the lowest adapted layer,
  ``2 * N_above`` a token, and through the adapter, ``2 * A``; the adapter's own gradient is another
  ``2 * A``. ``full`` has no adapter and pays ``2 * N_trained`` for the gradients of its layers.
* DoRA forms ``B A`` once a step for its norms: ``2 * r * in * out`` for each adapted matrix, and as
  much again in the backward pass.

Attention's quadratic part, norms, optimiser and sampling are left out: below 5 % of the whole at
256 tokens for the models this is made for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jobs_bench.errors import SpaceError
from jobs_bench.space.configuration import AxisValue
from jobs_bench.task.contract import ModelFacts

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "attention": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mlp": ("gate_proj", "up_proj", "down_proj"),
}
_IA3: Final = {"attention": ("k_proj", "v_proj"), "mlp": ("down_proj",)}

Config = Mapping[str, AxisValue]


def module_shapes(model: ModelFacts) -> dict[str, tuple[int, int]]:
    """Return input and output width of each matrix of a layer.

    Where the facts lack the widths, keys and values are taken as wide as the residual stream, and
    the feed-forward part as wide as the parameters of a layer leave it.
    """
    h = model.hidden
    kv = model.kv_width or h
    left = (model.n_params - model.vocab * h) / model.n_layers - 2 * h * h - 2 * h * kv
    inner = model.intermediate or max(round(left / (3 * h)), h)
    return {
        "q_proj": (h, h),
        "k_proj": (h, kv),
        "v_proj": (h, kv),
        "o_proj": (h, h),
        "gate_proj": (h, inner),
        "up_proj": (h, inner),
        "down_proj": (inner, h),
    }


def adapted_layers(config: Config, n_layers: int) -> range:
    """Return the layers that `config` trains, from 0 at the input.

    ``num_layers`` of them (absent: all), at the input side for ``placement`` ``first`` and at the
    output side for ``last`` (absent: ``last``).
    """
    wanted = config.get("num_layers", n_layers)
    if not isinstance(wanted, (int, float)) or not 1 <= wanted <= n_layers:
        raise SpaceError(f"got num_layers={wanted!r}; wanted a whole number in [1, {n_layers}]")
    count = int(wanted)
    return range(count) if config.get("placement") == "first" else range(n_layers - count, n_layers)


def adapted_modules(config: Config) -> tuple[str, ...]:
    """Return the names of the matrices of a layer that `config` adapts, groups written out.

    Absent ``target_modules`` stand for all; the ``ia3`` method scales keys, values and the input of
    the last feed-forward matrix only.
    """
    targets = config.get("target_modules", tuple(GROUPS))
    names = [targets] if isinstance(targets, str) else targets
    if not isinstance(names, (tuple, list)):
        raise SpaceError(f"got target_modules={targets!r}; wanted names")
    groups = _IA3 if config.get("method") == "ia3" else GROUPS
    return tuple(dict.fromkeys(m for name in names for m in groups.get(name, (name,))))


def adapter_params(model: ModelFacts, config: Config | None) -> int:
    """Return the parameters of the adapter; 0 for ``full`` and without a configuration."""
    if config is None:
        return 0
    method = config.get("method", "lora")
    if method == "full":
        return 0
    modules = adapted_modules(config)
    shapes = {m: s for m, s in module_shapes(model).items() if m in modules}
    if method == "ia3":  # one factor for each output, for each input of the last matrix
        a_layer = sum(s[0] if m == "down_proj" else s[1] for m, s in shapes.items())
    else:
        r = _rank(config)
        magnitudes = sum(out for _, out in shapes.values()) if method == "dora" else 0
        a_layer = r * sum(in_ + out for in_, out in shapes.values()) + magnitudes
    return a_layer * len(adapted_layers(config, model.n_layers))


def eval_flop(model: ModelFacts, config: Config | None, tokens: float) -> float:
    """Return the operations of scoring or generating `tokens` tokens (padding excluded).

    Args:
        model: The base model.
        config: Whose adapter is on the model, ``None``: the base model alone.
        tokens: Tokens that go through the model, generated ones included.
    """
    return 2.0 * (model.n_params + adapter_params(model, config)) * tokens


def train_flop(model: ModelFacts, config: Config, tokens: float, steps: float = 0) -> float:
    """Return the operations of training on `tokens` tokens (padding excluded).

    Args:
        model: The base model.
        config: What is trained.
        tokens: Tokens that go through the model.
        steps: Optimiser steps they are spread over; matters for DoRA alone.
    """
    layers = adapted_layers(config, model.n_layers)
    head = model.vocab * model.hidden
    a_layer = (model.n_params - head) / model.n_layers
    above = head + a_layer * (model.n_layers - layers.start)
    adapter = adapter_params(model, config)
    flop = (2.0 * (model.n_params + adapter) + 2.0 * above + 4.0 * adapter) * tokens
    method = config.get("method", "lora")
    if method == "full":
        flop += 2.0 * a_layer * len(layers) * tokens
    if method == "dora":
        shapes = [s for m, s in module_shapes(model).items() if m in adapted_modules(config)]
        a_step = 4.0 * _rank(config) * sum(in_ * out for in_, out in shapes) * len(layers)
        flop += a_step * steps
    return flop


def _rank(config: Config) -> int:
    r = config.get("r")
    if not isinstance(r, (int, float)) or r < 1:
        raise SpaceError(f"got r={r!r}; wanted a rank of at least 1 (there are: {list(config)})")
    return int(r)
