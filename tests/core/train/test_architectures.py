"""Adapters on models that are not Llama: other names, fused projections, capped logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    OPTConfig,
    Qwen2Config,
)

from jobs_bench.evaluator.likelihood import Request, score_requests
from jobs_bench.space.configuration import AxisValue
from jobs_bench.space.space import Space
from jobs_bench.task.finetune import FineTune
from jobs_bench.train.adapter import trainable
from jobs_bench.train.batches import MixtureStream
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.low_rank import low_rank
from jobs_bench.train.packed import Member, PackedTrainer, why_unpacked
from jobs_bench.train.trainer import Trainer

SMALL: dict[str, Any] = {"vocab_size": 43, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
WIDE: dict[str, Any] = SMALL | {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
CONFIGS = {
    "gpt2": GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=64, **SMALL),
    "gpt_neox": GPTNeoXConfig(intermediate_size=48, **WIDE),
    "opt": OPTConfig(ffn_dim=48, word_embed_proj_dim=32, **WIDE),
    "qwen2": Qwen2Config(intermediate_size=48, num_key_value_heads=2, **WIDE),
    "gemma2": Gemma2Config(
        intermediate_size=48, num_key_value_heads=2, head_dim=8, final_logit_softcapping=5.0, **WIDE
    ),
}


@pytest.fixture(params=CONFIGS)
def model(request: pytest.FixtureRequest, tiny_folder: Path, tmp_path: Path) -> LanguageModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loader: Any = AutoModelForCausalLM
        made = loader.from_config(CONFIGS[request.param])
    made.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(tmp_path)
    return LanguageModel(tmp_path, torch.device("cpu"))


@pytest.mark.parametrize("groups", [("attention",), ("mlp",), ("attention", "mlp")])
def test_adapters_train_where_they_should(
    model: LanguageModel, tiny_spec: FineTune, tiny_space: Space, groups: tuple[str, ...]
) -> None:
    values: dict[str, AxisValue] = {"target_modules": groups, "num_layers": 2, "method": "lora"}
    config = tiny_space.build(values)
    stream = MixtureStream(model, tiny_spec.domains, 4, 32, stratified=True)
    with trainable(model, config, 1) as adapted:
        layers = {int(next(p for p in n.split(".") if p.isdigit())) for n in adapted.params}
        inside = {"attention" if "att" in n.lower() else "mlp" for n in adapted.params}
        before = adapted.state()
        for _ in Trainer(adapted, stream, tiny_spec.recipe, 1).run([4]):
            pass
        after = adapted.state()
    assert layers == {1, 2}
    assert inside == set(groups)
    assert all(not torch.equal(before[n], after[n]) for n in before if "lora_B" in n)


def test_chosen_logits_are_the_models_own(
    model: LanguageModel, tiny_spec: FineTune, tiny_space: Space
) -> None:
    stream = MixtureStream(model, tiny_spec.domains, 4, 32, stratified=True)
    batch = stream.batches(tiny_space.default().mixture(), 1, 0, 1)[0]
    every = model.hf(input_ids=batch.input_ids).logits[batch.predicts]
    torch.testing.assert_close(model.logits_at(batch.input_ids, batch.predicts), every)


def test_shared_beginnings_where_the_model_can(model: LanguageModel) -> None:
    """Branching likelihoods equal those of rows apart; a model that cannot says so."""
    assert model.branches == (model.hf.config.model_type != "gemma2"), "it has windows"
    shots = tuple(range(2, 30))
    requests = [Request((*shots, q, q + 1, o, 5), 2) for q in (31, 33) for o in (36, 37, 38)]
    apart, _ = score_requests(model, requests, 999)
    shared, _ = score_requests(model, requests, 999, [0, 0, 0, 1, 1, 1])
    for mine, wanted in zip(shared, apart, strict=True):
        assert mine.total == pytest.approx(wanted.total, rel=1e-4)


def test_packed_steps_are_the_steps_alone(
    model: LanguageModel, tiny_spec: FineTune, tiny_space: Space
) -> None:
    """Conv1D, fused projections, positions of other kinds: float64, 1e-9."""
    model.hf.double()
    why = why_unpacked(model)
    for module in model.hf.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for name in ("attention_dropout", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    assert why in ("", "the base model has dropout of its own")
    assert why_unpacked(model) == ""
    stream = MixtureStream(model, tiny_spec.domains, 4, 32, stratified=True)
    trainer = PackedTrainer(model, stream, tiny_spec.recipe)
    values: list[dict[str, AxisValue]] = [
        {"r": 2, "num_layers": 1, "placement": "first", "target_modules": ("mlp",)},
        {"r": 2, "num_layers": 2, "lora_dropout": 0.2},
        {"r": 5, "num_layers": 3},
    ]
    configs = [tiny_space.build({"method": "lora", **v}) for v in values]
    members = [Member(low_rank(model, c, i), i, tiny_spec.recipe) for i, c in enumerate(configs)]
    for member in members:
        member.head_for(stream, 3)
        trainer.join(member)
    for _ in range(3):
        assert not trainer.step()
    for i, (config, member) in enumerate(zip(configs, members, strict=True)):
        with trainable(model, config, i) as adapted:
            alone = Trainer(adapted, stream, tiny_spec.recipe, i)
            for _ in alone.run([3]):
                pass
            wanted = alone.state()
        got = member.state()
        for name, value in {**wanted.params, **wanted.moments}.items():
            mine = {**got.params, **got.moments}[name]
            torch.testing.assert_close(mine, value, rtol=1e-9, atol=1e-11, msg=name)
