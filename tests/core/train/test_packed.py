"""A trial of a pack takes the steps that it takes alone."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs_bench.evaluator.memory import SavedBytes
from jobs_bench.space.configuration import AxisValue, Configuration, Mixture
from jobs_bench.space.space import Space
from jobs_bench.task.finetune import FineTune
from jobs_bench.train.adapter import trainable
from jobs_bench.train.batches import MixtureStream
from jobs_bench.train.checkpoint import State
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.low_rank import low_rank
from jobs_bench.train.packed import Member, PackedTrainer, why_unpacked
from jobs_bench.train.trainer import Trainer

MIXED: list[dict[str, AxisValue]] = [
    {"r": 4, "lora_dropout": 0.2},
    {"r": 1, "target_modules": ("mlp",), "learning_rate": 3e-2},
    {"r": 4, "num_layers": 1, "placement": "first"},
    {"r": 8, "num_layers": 1, "scaling": 4.0, "lora_dropout": 0.1},
    {"r": 4, "target_modules": ("attention",), "method": "rslora"},
    {"r": 4, "num_layers": 2, "lora_dropout": 0.05},
]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> LanguageModel:
    return LanguageModel(tiny_folder, torch.device("cpu"))


@pytest.fixture(scope="module")
def double(tiny_folder: Path) -> LanguageModel:
    made = LanguageModel(tiny_folder, torch.device("cpu"))
    made.hf.double()
    return made


@pytest.fixture(scope="module")
def stream(model: LanguageModel, tiny_spec: FineTune) -> MixtureStream:
    return MixtureStream(model, tiny_spec.domains, 4, 32, stratified=True)


@pytest.fixture
def configs(tiny_space: Space) -> list[Configuration]:
    weights = [(0.6, 0.3, 0.1), (0.2, 0.2, 0.6), (0.1, 0.8, 0.1)]
    made = []
    for i, values in enumerate(MIXED):
        mixture = Mixture(dict(zip(("copy", "back", "sort"), weights[i % 3], strict=True)))
        made.append(tiny_space.build({"method": "lora", **values, "mixture": mixture}))
    return made


def _alone(
    model: LanguageModel,
    stream: MixtureStream,
    spec: FineTune,
    config: Configuration,
    seed: int,
    stop: int,
    begin: State | None = None,
) -> State:
    with trainable(model, config, seed) as adapted:
        trainer = Trainer(adapted, stream, spec.recipe, seed)
        if begin is not None:
            trainer.restore(begin)
        for _ in trainer.run([stop]):
            pass
        return trainer.state()


def _member(
    model: LanguageModel,
    stream: MixtureStream,
    spec: FineTune,
    config: Configuration,
    seed: int,
    stop: int,
    begin: State | None = None,
) -> Member:
    member = Member(low_rank(model, config, seed), seed, spec.recipe)
    if begin is not None:
        member.restore(begin)
    member.head_for(stream, stop)
    return member


def _run(trainer: PackedTrainer) -> None:
    while trainer.members:
        assert not trainer.step()
        for member in trainer.members:
            if member.arrived:
                trainer.leave(member)


def _close(got: State, wanted: State, rtol: float, atol: float) -> None:
    assert got.step == wanted.step
    assert got.config_key == wanted.config_key
    for mine, theirs in ((got.params, wanted.params), (got.moments, wanted.moments)):
        assert list(mine) == list(theirs)
        for name, value in theirs.items():
            torch.testing.assert_close(mine[name], value, rtol=rtol, atol=atol, msg=name)


def test_packed_steps_are_the_steps_alone(
    double: LanguageModel,
    stream: MixtureStream,
    tiny_spec: FineTune,
    configs: Sequence[Configuration],
) -> None:
    """Float64, 1e-9: mixed ranks, modules, layers, dropouts, rates, mixtures and ages."""
    before = {n: p.clone() for n, p in double.hf.named_parameters()}
    trainer = PackedTrainer(double, stream, tiny_spec.recipe)
    members, begins = [], []
    for seed, config in enumerate(configs):
        age = (0, 3, 5)[seed % 3]
        begin = _alone(double, stream, tiny_spec, config, seed, age) if age else None
        begins.append(begin)
        members.append(_member(double, stream, tiny_spec, config, seed, 9 - seed // 3, begin))
        trainer.join(members[-1])
    _run(trainer)
    for seed, (config, begin, member) in enumerate(zip(configs, begins, members, strict=True)):
        wanted = _alone(double, stream, tiny_spec, config, seed, 9 - seed // 3, begin)
        _close(member.state(), wanted, 1e-9, 1e-11)
        with trainable(double, config, seed) as adapted:
            adapted.load(member.state().params)  # same names and shapes: PEFT can have it
    after = dict(double.hf.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert not any(p.requires_grad for p in after.values())
    assert not any("forward" in m.__dict__ for m in double.hf.modules())


def test_single_precision_differs_by_rounding_alone(
    model: LanguageModel,
    stream: MixtureStream,
    tiny_spec: FineTune,
    configs: Sequence[Configuration],
) -> None:
    """One step: the very first gradient, in float32, beside the same trials alone."""
    trainer = PackedTrainer(model, stream, tiny_spec.recipe)
    members = [_member(model, stream, tiny_spec, c, i, 1) for i, c in enumerate(configs)]
    for member in members:
        trainer.join(member)
    _run(trainer)
    for i, (config, member) in enumerate(zip(configs, members, strict=True)):
        wanted = _alone(model, stream, tiny_spec, config, i, 1)
        got = member.state()
        for name, value in wanted.moments.items():
            scale = float(value.abs().max())
            torch.testing.assert_close(
                got.moments[name], value, rtol=1e-3, atol=2e-5 * scale, msg=name
            )


def test_trials_come_and_go_between_steps(
    double: LanguageModel,
    stream: MixtureStream,
    tiny_spec: FineTune,
    configs: Sequence[Configuration],
) -> None:
    """Leaving, pausing, going on elsewhere and unpacked: the trial is the same at the end."""
    recipe = tiny_spec.recipe
    first, second = (PackedTrainer(double, stream, recipe) for _ in range(2))
    members = [_member(double, stream, tiny_spec, c, i, 8) for i, c in enumerate(configs)]
    for member in members[:3]:
        first.join(member)
    first.step()
    first.leave(members[1])
    first.join(members[3])
    first.step()
    second.join(members[1])
    second.join(members[4])
    second.step()
    first.leave(members[0])
    second.join(members[0])
    _run(second)
    half = members[3].state()
    assert half.step == 1
    on = _alone(double, stream, tiny_spec, configs[3], 3, 8, half)
    _run(first)
    _close(members[3].state(), on, 1e-9, 1e-11)
    for i in (0, 1, 2, 3, 4):
        wanted = _alone(double, stream, tiny_spec, configs[i], i, 8)
        _close(members[i].state(), wanted, 1e-9, 1e-11)


def test_neighbours_of_a_diverging_trial_feel_nothing(
    model: LanguageModel,
    stream: MixtureStream,
    tiny_spec: FineTune,
    configs: Sequence[Configuration],
) -> None:
    """To the bit: with NaN in its weights, or without."""
    states = []
    for bad in (True, False):
        trainer = PackedTrainer(model, stream, tiny_spec.recipe)
        members = [_member(model, stream, tiny_spec, c, i, 4) for i, c in enumerate(configs)]
        if bad:
            for p in members[2].adapter.params.values():
                p.fill_(torch.nan)
        for member in members:
            trainer.join(member)
        failed = trainer.step()
        assert list(failed) == ([members[2]] if bad else [])
        for member, error in failed.items():
            assert "the loss at step 1 is not finite" in str(error)
            assert error.tokens == member.step == 0
        states.append([m.state() for i, m in enumerate(members) if i != 2])
    for got, wanted in zip(*states, strict=True):
        _close(got, wanted, 0.0, 0.0)


def test_a_pass_without_room_changes_nobody(
    double: LanguageModel,
    stream: MixtureStream,
    tiny_spec: FineTune,
    configs: Sequence[Configuration],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = PackedTrainer(double, stream, tiny_spec.recipe, max_rows=12)
    members = [_member(double, stream, tiny_spec, c, i, 2) for i, c in enumerate(configs)]
    for member in members[:3]:
        trainer.join(member)
    trainer.step()
    before = [copy.deepcopy(m.state()) for m in members[:3]]
    trainer.join(members[3])
    with pytest.raises(MemoryError, match="no room for 16 rows in one pass, only for 12"):
        trainer.step()

    class Full(torch.nn.Module):
        def forward(self, *args: object, **options: object) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

    trainer.leave(members[3])
    with monkeypatch.context() as patch:
        patch.setattr(type(double.layers()[1][2]), "forward", Full.forward)
        with pytest.raises(torch.OutOfMemoryError):
            trainer.step()
    for member, state in zip(members[:3], before, strict=True):
        assert member.step == 1
        _close(member.state(), state, 0.0, 0.0)
    _run(trainer)
    for i, member in enumerate(members[:3]):
        _close(member.state(), _alone(double, stream, tiny_spec, configs[i], i, 2), 1e-9, 1e-11)


def test_weight_decay_and_no_clipping(
    double: LanguageModel,
    stream: MixtureStream,
    tiny_spec: FineTune,
    configs: Sequence[Configuration],
) -> None:
    recipe = dataclasses.replace(
        tiny_spec.recipe, weight_decay=0.1, max_grad_norm=0.0, schedule="cosine"
    )
    spec = dataclasses.replace(tiny_spec, recipe=recipe)
    trainer = PackedTrainer(double, stream, recipe)
    members = [_member(double, stream, spec, c, i, 5) for i, c in enumerate(configs[:3])]
    for member in members:
        trainer.join(member)
    _run(trainer)
    for i, member in enumerate(members):
        _close(member.state(), _alone(double, stream, spec, configs[i], i, 5), 1e-9, 1e-11)


def test_rows_below_the_lowest_adapter_have_no_backward_pass(
    model: LanguageModel, stream: MixtureStream, tiny_spec: FineTune, tiny_space: Space
) -> None:
    """Only the rows of the trial that adapts the first layer are differentiated there."""
    low = tiny_space.build({"method": "lora", "num_layers": 1, "placement": "first"})
    high = tiny_space.build({"method": "lora", "num_layers": 1, "placement": "last"})
    trainer = PackedTrainer(model, stream, tiny_spec.recipe)
    for i, config in enumerate((high, low)):
        trainer.join(_member(model, stream, tiny_spec, config, i, 1))
    rows: dict[int, list[int]] = {0: [], 1: [], 2: []}
    hooks = []
    for i in range(3):

        def note(_module: torch.nn.Module, _args: object, out: torch.Tensor, i: int = i) -> None:
            if out.requires_grad:
                out.register_hook(lambda g: rows[i].append(len(g)))

        hooks.append(
            model.hf.get_submodule(f"model.layers.{i}.mlp.down_proj").register_forward_hook(note)
        )
    trainer.step()
    for hook in hooks:
        hook.remove()
    assert rows == {0: [4], 1: [4], 2: [8]}


def test_dropout_keeps_one_byte_a_value(
    model: LanguageModel, stream: MixtureStream, tiny_spec: FineTune, configs: list[Configuration]
) -> None:
    kept = []
    for share in (0.0, 0.2):
        config = Configuration({**configs[0], "lora_dropout": share})
        trainer = PackedTrainer(model, stream, tiny_spec.recipe)
        trainer.join(_member(model, stream, tiny_spec, config, 0, 1))
        (member,) = trainer.members
        with SavedBytes(model) as saved:
            trainer.step()
        kept.append(saved.total)
    rows = stream.draw(configs[0].mixture(), 0, 0, 1)[0]
    positions = len(rows) * max(len(r.ids) for r in rows)
    inputs = [model.hf.get_submodule(p.path).weight.shape[1] for p in member.adapter.places]
    assert kept[0] < kept[1] <= kept[0] + positions * sum(inputs)


def test_a_model_with_dropout_of_its_own_is_not_packed(model: LanguageModel) -> None:
    assert why_unpacked(model) == ""
    attention: Any = model.hf.get_submodule("model.layers.1.self_attn")
    attention.attention_dropout = 0.5
    try:
        assert "dropout of its own" in why_unpacked(model)
    finally:
        attention.attention_dropout = 0.0


def test_a_model_whose_modules_see_parts_of_a_batch_is_not_packed(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlp: Any = type(model.hf.get_submodule("model.layers.0.mlp"))
    plain = mlp.forward

    def routed(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(x)
        out[:, 1:] = plain(self, x[:, 1:])
        return out

    monkeypatch.setattr(mlp, "forward", routed)
    assert "does not see every position once" in why_unpacked(model)
