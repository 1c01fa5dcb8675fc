"""Two spaces that most studies start from: `lora_space` and `paper_space`.

Names are PEFT's where PEFT has the concept: ``r``, ``lora_dropout``, ``lora_alpha``,
``target_modules``. `lora_space` searches ``scaling = lora_alpha / r`` (``lora_alpha / sqrt(r)`` for
rslora) because raw alpha and rank interact; the exported adapter holds ``lora_alpha``.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobs_bench.space.axes import Axis, Categorical, Float, Int, Subset
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Condition, Space

METHODS = ("lora", "rslora", "dora", "ia3", "full")
LORA_METHODS = ("lora", "rslora", "dora")
MODULE_GROUPS = ("attention", "mlp")
PAPER_MODULES = ("q_proj", "v_proj", "up_proj", "down_proj", "gate_proj")


def lora_space(
    mixture: Simplex,
    n_layers: int,
    *,
    learning_rate: tuple[float, float] = (1e-5, 5e-3),
    default_learning_rate: float = 2e-4,
    r: tuple[int, int] = (1, 256),
    default_r: int = 16,
    scaling: tuple[float, float] = (0.25, 8.0),
    default_scaling: float = 2.0,
    lora_dropout: float = 0.2,
    min_layers: int = 1,
    methods: Sequence[str] = LORA_METHODS,
) -> Space:
    """Return the space that tuners need, around a mixture axis.

    Args:
        mixture: The data block.
        n_layers: Transformer layers of the model.
        learning_rate: Bounds, log axis. LoRA's best rate is about ten times that of full
            fine-tuning (LoRA Without Regret, 2025).
        default_learning_rate: Of the default recipe.
        r: Bounds of the rank, log axis.
        default_r: Of the default recipe.
        scaling: Bounds of the scaling, log axis.
        default_scaling: Of the default recipe.
        lora_dropout: Upper bound.
        min_layers: Fewest adapted layers.
        methods: From ``lora, rslora, dora, ia3, full``, the default first; for ``lora`` alone there
            is no such axis.
    """
    method = [Categorical("method", tuple(methods), default=methods[0])]
    adapter: list[Int | Float] = [
        Int("r", r[0], r[1], log=True, default=default_r),
        Float("scaling", scaling[0], scaling[1], log=True, default=default_scaling),
        Float("lora_dropout", 0.0, lora_dropout, default=0.0),
    ]
    axes: tuple[Axis, ...] = (
        mixture,
        *([] if tuple(methods) == ("lora",) else method),
        *adapter,
        Subset("target_modules", MODULE_GROUPS, default=MODULE_GROUPS),
        Int("num_layers", min_layers, n_layers, default=n_layers),
        Categorical("placement", ("first", "last"), default="last"),
        Float(
            "learning_rate",
            learning_rate[0],
            learning_rate[1],
            log=True,
            default=default_learning_rate,
            block="train",
        ),
    )
    conditions: list[Condition] = []
    if set(methods) - set(LORA_METHODS):
        ranked = tuple(m for m in methods if m in LORA_METHODS)
        conditions = [Condition(a.name, "method", ranked) for a in adapter]
        if "full" in methods:
            partial = tuple(m for m in methods if m != "full")
            conditions += [
                Condition("target_modules", "method", partial),
            ]
    return Space(axes, tuple(conditions))


def paper_space(mixture: Simplex, n_layers: int) -> Space:
    """Return the space of JoBS (arXiv 2602.08351, V2): 10 dimensions beside the mixture.

    Layers 1..L, five module switches, rank 1..128, dropout 0..0.1, alpha 1..48, placement. The
    learning rate is not searched; it stays at 3e-4, the paper's.
    """
    axes = (
        mixture,
        Int("num_layers", 1, n_layers, default=n_layers),
        Subset("target_modules", PAPER_MODULES, default=PAPER_MODULES),
        Int("r", 1, 128, default=72),
        Float("lora_dropout", 0.0, 0.1, default=0.05),
        Float("lora_alpha", 1.0, 48.0, default=16.0),
        Categorical("placement", ("first", "last"), default="first"),
    )
    return Space(axes)
