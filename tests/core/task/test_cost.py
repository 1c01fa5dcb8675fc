from __future__ import annotations

from pathlib import Path

import pytest

from jobs_bench.errors import SpaceError
from jobs_bench.space.configuration import AxisValue, Configuration
from jobs_bench.task.contract import ModelFacts
from jobs_bench.task.cost import (
    adapted_layers,
    adapted_modules,
    adapter_params,
    eval_flop,
    module_shapes,
    train_flop,
)

# SmolLM2-135M
MODEL = ModelFacts("m", Path(), "d", 30, 134_515_008, 576, 49_152, 8192, 192, 1536)
LAYER = 3_539_520  # with the two norms: (134515008 - 49152 * 576) / 30, up to the last norm
Q_V = 576 + 576 + 576 + 192


def config(**values: AxisValue) -> Configuration:
    return Configuration({"r": 8, **values})


def test_adapter_parameters_are_those_of_peft() -> None:
    # 460,800: measured for r=8 on q_proj and v_proj
    assert adapter_params(MODEL, config(target_modules=("q_proj", "v_proj"))) == 8 * Q_V * 30
    assert 8 * Q_V * 30 == 460_800
    one = config(target_modules=("q_proj",), num_layers=2, method="dora")
    assert adapter_params(MODEL, one) == 2 * (8 * 1152 + 576)
    assert adapter_params(MODEL, Configuration({"method": "ia3"})) == 30 * (192 + 192 + 1536)
    assert adapter_params(MODEL, Configuration({"method": "full"})) == 0
    assert adapter_params(MODEL, None) == 0


def test_groups_are_written_out() -> None:
    assert adapted_modules(config(target_modules=("attention",))) == (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    )
    assert len(adapted_modules(config())) == 7
    assert adapted_modules(config(method="ia3", target_modules=("mlp",))) == ("down_proj",)


@pytest.mark.parametrize(
    ("values", "layers"),
    [
        ({}, range(30)),
        ({"num_layers": 3}, range(27, 30)),
        ({"num_layers": 3, "placement": "last"}, range(27, 30)),
        ({"num_layers": 3, "placement": "first"}, range(3)),
    ],
)
def test_layers_are_counted_from_the_named_end(values: dict[str, AxisValue], layers: range) -> None:
    assert adapted_layers(Configuration(values), 30) == layers


def test_scoring_is_two_operations_a_parameter_and_token() -> None:
    assert eval_flop(MODEL, None, 10) == 2 * 134_515_008 * 10
    c = config(target_modules=("q_proj", "v_proj"))
    assert eval_flop(MODEL, c, 10) == 2 * (134_515_008 + 460_800) * 10


def test_the_backward_pass_ends_at_the_lowest_adapted_layer() -> None:
    c = config(target_modules=("q_proj", "v_proj"))
    head = 49_152 * 576
    forward = 2 * (134_515_008 + 460_800)
    expected = forward + 2 * 134_515_008 + 4 * 460_800
    assert train_flop(MODEL, c, 100) == pytest.approx(expected * 100)
    last = config(target_modules=("q_proj", "v_proj"), num_layers=1)
    a = 8 * Q_V
    expected = 2 * (134_515_008 + a) + 2 * (head + LAYER) + 4 * a
    assert train_flop(MODEL, last, 100) == pytest.approx(expected * 100, rel=1e-4)
    first = config(target_modules=("q_proj", "v_proj"), num_layers=1, placement="first")
    assert train_flop(MODEL, first, 100) > train_flop(MODEL, last, 100)


def test_full_training_pays_for_its_own_gradients() -> None:
    full = Configuration({"method": "full"})
    # forward, activations back, weights of all layers (the embedding is not trained)
    layers = 134_515_008 - 49_152 * 576
    assert train_flop(MODEL, full, 1) == pytest.approx(4 * 134_515_008 + 2 * layers)


def test_dora_pays_a_step() -> None:
    lora, dora = config(method="lora"), config(method="dora")
    extra = train_flop(MODEL, dora, 100, 5) - train_flop(MODEL, dora, 100, 0)
    assert extra == 4 * 8 * 30 * sum(i * o for i, o in module_shapes(MODEL).values()) * 5
    assert train_flop(MODEL, lora, 100, 5) == train_flop(MODEL, lora, 100, 0)


def test_cost_grows_with_rank_and_tokens() -> None:
    assert train_flop(MODEL, config(r=64), 10) > train_flop(MODEL, config(r=8), 10)
    assert train_flop(MODEL, config(), 20) == 2 * train_flop(MODEL, config(), 10)


def test_unknown_widths_are_filled_in() -> None:
    bare = ModelFacts("m", Path(), "d", 30, 134_515_008, 576, 49_152, 8192)
    h, inner = 576, module_shapes(bare)["up_proj"][1]
    assert 4 * h * h + 3 * h * inner == pytest.approx(LAYER, rel=1e-3)
    tiny = ModelFacts("m", Path(), "d", 2, 100, 8, 10, 64)
    assert module_shapes(tiny)["up_proj"] == (8, 8)


def test_configurations_that_cannot_be_are_refused() -> None:
    with pytest.raises(SpaceError, match="num_layers=31"):
        adapted_layers(config(num_layers=31), 30)
    with pytest.raises(SpaceError, match="rank"):
        adapter_params(MODEL, Configuration({}))
    with pytest.raises(SpaceError, match="target_modules"):
        adapted_modules(config(target_modules=3))
