from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobs_bench.space.configuration import AxisValue, Configuration
from jobs_bench.space.presets import METHODS
from jobs_bench.space.space import Space
from jobs_bench.task.finetune import FineTune
from jobs_bench.train.adapter import trainable
from jobs_bench.train.batches import MixtureStream
from jobs_bench.train.checkpoint import Checkpoints, State
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.trainer import DivergedError, Trainer, learning_rate


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> LanguageModel:
    return LanguageModel(tiny_folder, torch.device("cpu"))


@pytest.fixture(scope="module")
def stream(model: LanguageModel, tiny_spec: FineTune) -> MixtureStream:
    return MixtureStream(model, tiny_spec.domains, 4, 32, stratified=True)


def _config(space: Space, **values: AxisValue) -> Configuration:
    return space.build(values)


def _train(
    model: LanguageModel,
    stream: MixtureStream,
    spec: FineTune,
    config: Configuration,
    stops: list[int],
    begin: State | None = None,
) -> State:
    with trainable(model, config, 7) as adapted:
        trainer = Trainer(adapted, stream, spec.recipe, 7)
        if begin is not None:
            trainer.restore(begin)
        for _ in trainer.run(stops):
            pass
        return trainer.state()


def _same(a: State, b: State) -> None:
    assert a.step == b.step
    for left, right in ((a.params, b.params), (a.moments, b.moments)):
        assert left.keys() == right.keys()
        for name in left:
            assert torch.equal(left[name], right[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_two_halves_equal_the_whole_to_the_bit(
    model: LanguageModel,
    stream: MixtureStream,
    tiny_spec: FineTune,
    tiny_space: Space,
    tmp_path: Path,
    method: str,
) -> None:
    dropout = {"lora_dropout": 0.2} if method in ("lora", "rslora", "dora") else {}
    config = _config(tiny_space, method=method, **dropout)
    whole = _train(model, stream, tiny_spec, config, [12])
    half = _train(model, stream, tiny_spec, config, [4, 8])
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, half)
    _same(whole, _train(model, stream, tiny_spec, config, [12], checkpoints.load(3, 8)))
    start = _train(model, stream, tiny_spec, config, [1])
    assert any(not torch.equal(start.params[n], whole.params[n]) for n in whole.params)


@pytest.mark.parametrize("method", METHODS)
def test_the_base_model_is_untouched(
    model: LanguageModel,
    stream: MixtureStream,
    tiny_spec: FineTune,
    tiny_space: Space,
    method: str,
) -> None:
    before = {n: p.clone() for n, p in model.hf.named_parameters()}
    _train(model, stream, tiny_spec, _config(tiny_space, method=method), [4])
    after = dict(model.hf.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert not any(p.requires_grad for p in after.values())


@pytest.mark.parametrize("method", METHODS)
def test_folded_weights_score_as_the_adapter_does(
    model: LanguageModel,
    stream: MixtureStream,
    tiny_spec: FineTune,
    tiny_space: Space,
    method: str,
) -> None:
    """Folding changes rounding alone, takes the adapter's work away, and leaves no trace."""
    config = _config(tiny_space, method=method)
    before = {n: p.clone() for n, p in model.hf.named_parameters()}
    batch = stream.batches(config.mixture(), 7, 0, 1)[0]
    with trainable(model, config, 7) as adapted:
        for _ in Trainer(adapted, stream, tiny_spec.recipe, 7).run([8]):
            pass
        state = adapted.state()
        with torch.no_grad():
            apart = model.logits_at(batch.input_ids, batch.predicts)
            with adapted.folded():
                folded = model.logits_at(batch.input_ids, batch.predicts)
            assert torch.equal(model.logits_at(batch.input_ids, batch.predicts), apart)
        assert all(torch.equal(state[n], p) for n, p in adapted.state().items())
    torch.testing.assert_close(folded, apart, rtol=1e-4, atol=1e-5)
    assert torch.equal(folded, apart) == (method not in ("lora", "rslora"))
    assert all(torch.equal(before[n], p) for n, p in model.hf.named_parameters())


def test_the_update_is_adamw(
    model: LanguageModel, stream: MixtureStream, tiny_spec: FineTune, tiny_space: Space
) -> None:
    """Ten steps of ours equal ten of torch's AdamW with its own clipping, to rounding."""
    config = _config(tiny_space, method="lora")
    recipe = tiny_spec.recipe
    mine = _train(model, stream, tiny_spec, config, [10])
    with trainable(model, config, 7) as adapted:
        params = list(adapted.params.values())
        optimiser = torch.optim.AdamW(params, lr=1.0, weight_decay=0.0)
        for step, batch in enumerate(stream.batches(config.mixture(), 7, 0, 10), start=1):
            logits = model.logits_at(batch.input_ids, batch.predicts)
            torch.nn.functional.cross_entropy(logits, batch.labels).backward()
            torch.nn.utils.clip_grad_norm_(params, recipe.max_grad_norm)
            optimiser.param_groups[0]["lr"] = learning_rate(recipe, 1e-2, step)
            optimiser.step()
            optimiser.zero_grad()
        theirs = adapted.state()
    for name, value in theirs.items():
        torch.testing.assert_close(mine.params[name], value, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("where", [{"num_layers": 1, "placement": "first"}, {"num_layers": 2}])
def test_only_the_chosen_layers_and_modules_are_trained(
    model: LanguageModel, tiny_space: Space, where: dict[str, AxisValue]
) -> None:
    config = _config(tiny_space, method="lora", target_modules=("mlp",), **where)
    with trainable(model, config, 0) as adapted:
        names = list(adapted.params)
    layers = {0} if where.get("placement") == "first" else {1, 2}
    assert {int(n.split("layers.")[1].split(".")[0]) for n in names} == layers
    assert all(".mlp." in n for n in names)
    assert len(names) == len(layers) * 3 * 2


def test_nan_is_told_as_diverged(
    model: LanguageModel, stream: MixtureStream, tiny_spec: FineTune, tiny_space: Space
) -> None:
    config = _config(tiny_space, method="full").with_({"learning_rate": 1e18})
    with pytest.raises(DivergedError, match="is not finite"):
        _train(model, stream, tiny_spec, config, [12])
    test_the_base_model_is_untouched(model, stream, tiny_spec, tiny_space, "full")


def test_logits_are_made_where_labels_are(
    model: LanguageModel, stream: MixtureStream, tiny_space: Space
) -> None:
    batch = stream.batches(tiny_space.default().mixture(), 1, 0, 1)[0]
    every = model.hf(input_ids=batch.input_ids).logits
    torch.testing.assert_close(
        model.logits_at(batch.input_ids, batch.predicts), every[batch.predicts]
    )
    shifted = torch.roll(batch.input_ids, -1, dims=1)
    assert torch.equal(shifted[batch.predicts], batch.labels)
    ends = batch.labels == model.end_id
    assert int(ends.sum()) == batch.input_ids.shape[0]
