"""Merged adapters are the sum of updates, whatever the ranks; averaged factors are not."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from jobs_bench.errors import SpaceError
from jobs_bench.space.configuration import AxisValue
from jobs_bench.space.space import Space
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.low_rank import LowRank, low_rank
from jobs_bench.train.merging import merged

ALIKE: list[dict[str, AxisValue]] = [{"r": 4}, {"r": 4}, {"r": 4}]
OTHERS: list[dict[str, AxisValue]] = [
    {"r": 1, "target_modules": ("mlp",)},
    {"r": 8, "scaling": 4.0, "num_layers": 1},
    {"r": 4, "method": "rslora", "lora_dropout": 0.1},
]
COEFFICIENTS = (0.5, 0.75, -0.25)


@pytest.fixture(scope="module")
def double(tiny_folder: Path) -> LanguageModel:
    made = LanguageModel(tiny_folder, torch.device("cpu"))
    made.hf.double()
    return made


def _adapters(
    model: LanguageModel, space: Space, kinds: list[dict[str, AxisValue]]
) -> list[LowRank]:
    """Return adapters whose factors are all random: PEFT begins with ``B = 0``."""
    found = []
    for i, values in enumerate(kinds):
        adapter = low_rank(model, space.build({"method": "lora", **values}), i)
        draw = torch.Generator().manual_seed(i)
        for name, p in adapter.params.items():
            adapter.params[name] = torch.randn(p.shape, generator=draw, dtype=torch.float64)
        found.append(adapter)
    return found


def _weights(model: LanguageModel) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in model.hf.named_parameters()}


@pytest.mark.parametrize("kinds", [ALIKE, OTHERS], ids=["alike", "others"])
def test_the_update_is_the_sum_of_updates(
    double: LanguageModel, tiny_space: Space, kinds: list[dict[str, AxisValue]]
) -> None:
    adapters = _adapters(double, tiny_space, kinds)
    base = _weights(double)
    wanted = copy.deepcopy(base)
    for adapter, c in zip(adapters, COEFFICIENTS, strict=True):
        with adapter.folded(double):
            for name, w in _weights(double).items():
                wanted[name] += c * (w - base[name])
    with merged(list(zip(adapters, COEFFICIENTS, strict=True))).folded(double):
        got = _weights(double)
    changed = 0
    for name, w in wanted.items():
        torch.testing.assert_close(got[name], w, rtol=1e-9, atol=1e-9)
        changed += not torch.equal(w, base[name])
    assert changed > 3
    assert all(torch.equal(w, base[n]) for n, w in _weights(double).items()), "the base stays"


def test_it_is_an_adapter_of_the_sum_of_the_ranks(double: LanguageModel, tiny_space: Space) -> None:
    adapters = _adapters(double, tiny_space, ALIKE)
    whole = merged(list(zip(adapters, COEFFICIENTS, strict=True)))
    assert {p.rank for p in whole.places} == {12}
    assert [p.path for p in whole.places] == [p.path for p in adapters[0].places]
    place, of = whole.places[0], adapters[0].places[0]
    update = whole.params[place.up] @ whole.params[place.down] * place.scaling
    mean_up, mean_down = (
        torch.stack([c * a.params[n] for a, c in zip(adapters, COEFFICIENTS, strict=True)]).sum(0)
        for n in (of.up, of.down)
    )
    assert not torch.allclose(update, mean_up @ mean_down * of.scaling, rtol=0.1), (
        "averaging factors is another thing"
    )


def test_nothing_cannot_be_merged() -> None:
    with pytest.raises(SpaceError, match="got no adapter"):
        merged([])
