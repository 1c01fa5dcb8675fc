"""Answers against ``generate`` of `transformers`, one context at a time, in float64."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import cache
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
    LlamaConfig,
    OPTConfig,
    Qwen2Config,
)

from jobs_bench.evaluator import decoding
from jobs_bench.evaluator.decoding import generate
from jobs_bench.evaluator.scoring import Scorer
from jobs_bench.evaluator.stops import cut
from jobs_bench.space.space import Space
from jobs_bench.task import text_task
from jobs_bench.task.contract import ModelFacts
from jobs_bench.task.finetune import FineTune, Generate, Generation
from jobs_bench.task.prefixes import plan
from jobs_bench.task.text_spec import EXACT_MATCH, GOLD_BPB, TextSpec
from jobs_bench.task.text_task import TextTask
from jobs_bench.train.adapter import trainable
from jobs_bench.train.growing_rows import GrowingRows
from jobs_bench.train.language_model import LanguageModel

SMALL: dict[str, Any] = {"vocab_size": 43, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
WIDE: dict[str, Any] = SMALL | {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
GROUPED: dict[str, Any] = WIDE | {"intermediate_size": 48, "num_key_value_heads": 2}
CONFIGS = {
    "llama": LlamaConfig(**GROUPED),
    "gpt2": GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=64, **SMALL),
    "gpt_neox": GPTNeoXConfig(intermediate_size=48, **WIDE),
    "opt": OPTConfig(ffn_dim=48, word_embed_proj_dim=32, **WIDE),
    "qwen2": Qwen2Config(**GROUPED),
    "gemma2": Gemma2Config(head_dim=8, sliding_window=8, **GROUPED),
}
LONGEST = 14


def _load(folder: Path) -> LanguageModel:
    model = LanguageModel(folder, torch.device("cpu"))
    if model.hf.config.model_type != "gemma2":  # eager attention of padded float64 rows is NaN
        model.hf.double()
    return model


@pytest.fixture(scope="module", params=CONFIGS)
def model(
    request: pytest.FixtureRequest, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> LanguageModel:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        loader: Any = AutoModelForCausalLM
        made = loader.from_config(CONFIGS[request.param])
        for parameter in made.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.25)
    folder = tmp_path_factory.mktemp(request.param)
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(folder)
    return _load(folder)


@pytest.fixture(scope="module")
def llama(tiny_folder: Path) -> LanguageModel:
    return _load(tiny_folder)


@pytest.fixture
def unshared(tiny_folder: Path) -> LanguageModel:
    model = _load(tiny_folder)
    model.__dict__["grows"] = False
    return model


def _text(rng: random.Random, low: int, high: int) -> str:
    return "".join(rng.choice("abcdef12") for _ in range(rng.randint(low, high)))


def _contexts(seed: int) -> list[str]:
    """Return contexts of two groups that begin alike, others, and one of them twice."""
    rng = random.Random(seed)
    shots = [_text(rng, 26, 30), _text(rng, 24, 25)]
    made = [shots[i % 2] + _text(rng, 1, 12) for i in range(6)]
    made += [_text(rng, 1, 40) for _ in range(3)]
    made += [made[0], "", shots[0]]
    rng.shuffle(made)
    return made


@cache
def _new(model: LanguageModel, context: str, n: int) -> list[int]:
    ids = torch.tensor([model.encode(context) or [model.end_id]])
    with torch.no_grad():
        out = model.hf.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=n,
            do_sample=False,
            use_cache=True,
            pad_token_id=model.pad_id,
            eos_token_id=model.end_id,
        )
    new: list[int] = out[0, ids.shape[1] :].tolist()
    return new


def _wanted(
    model: LanguageModel, context: str, stops: Sequence[str], longest: int = LONGEST
) -> tuple[str, int]:
    """Return the answer, and its tokens up to what ends it."""
    ids: list[int] = []
    for token in _new(model, context, longest):
        ids.append(token)
        text = model.decode(ids)
        if any(stop in text for stop in stops):
            break
    return cut(model.decode(ids), stops), len(ids)


def test_answers_are_those_of_generate(model: LanguageModel) -> None:
    assert model.grows == (model.hf.config.model_type != "gemma2"), "it has windows"
    attention = model.hf.config._attn_implementation
    contexts = _contexts(5)
    free = [_wanted(model, c, ())[0] for c in contexts]
    assert len(set(free)) > 5
    a, b, c, *_ = [text for text in dict.fromkeys(free) if len(text) > 8]
    # stop texts of one letter, and of several, which are as many tokens
    for stops in ((), (a[3], b[6]), (a[2:4], b[5:8], c[7:9])):
        wanted = [_wanted(model, context, stops) for context in contexts]
        assert len({length for _, length in wanted}) > bool(stops)
        for eval_tokens in (150, 4000):
            got, _ = generate(model, contexts, Generation(stops, LONGEST), eval_tokens)
            assert got == [text for text, _ in wanted]
    assert model.hf.config._attn_implementation == attention


def test_tokens_are_those_that_were_read(model: LanguageModel) -> None:
    contexts = _contexts(6)
    stops = ("b", "31")
    different = list(dict.fromkeys(contexts))
    rows = [tuple(model.encode(c) or [model.end_id]) for c in different]
    answers = sum(_wanted(model, c, stops)[1] - 1 for c in different)
    wanted = answers + sum(map(len, rows))
    groves = plan(rows, [len(r) - 1 for r in rows], range(len(rows)))
    saved = sum(len(g.trunk) * (len(g.trees) - 1) for g in groves)
    assert saved > 80
    for eval_tokens in (1, 200):
        _, tokens = generate(model, contexts, Generation(stops, LONGEST), eval_tokens)
        assert tokens == wanted - saved * model.grows


@pytest.mark.parametrize("seed", range(4))
def test_sharing_changes_the_tokens_alone(
    llama: LanguageModel, unshared: LanguageModel, seed: int
) -> None:
    contexts = _contexts(seed)
    how = Generation(("ab", "f"), LONGEST)
    shared, few = generate(llama, contexts, how, 500)
    apart, many = generate(unshared, contexts, how, 500)
    assert shared == apart
    assert few < many - 80


@pytest.mark.parametrize("eval_tokens", [1, 60, 130, 300, 10_000])
def test_batches_do_not_matter(llama: LanguageModel, eval_tokens: int) -> None:
    contexts = _contexts(7)
    how = Generation(("e2", "c"), LONGEST)
    wanted = generate(llama, contexts, how, 800)
    assert generate(llama, contexts, how, eval_tokens) == wanted
    back, tokens = generate(llama, contexts[::-1], how, eval_tokens)
    assert (back[::-1], tokens) == wanted
    assert [generate(llama, [c], how, eval_tokens)[0][0] for c in contexts] == wanted[0]


def test_batches_keep_to_the_budget_and_fill_again(
    llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[tuple[int, int]] = []

    class Watched(GrowingRows):
        def change(self, stay: Sequence[int], join: Sequence[Any], width: int) -> None:
            sizes.append((len(stay), len(join)))
            assert (len(stay) + len(join)) * width <= 150
            super().change(stay, join, width)

    monkeypatch.setattr(decoding, "GrowingRows", Watched)
    generate(llama, _contexts(8), Generation(("a", "b", "c"), LONGEST), 150)
    assert any(stay and join for stay, join in sizes)
    assert sum(join for _, join in sizes) == len(set(_contexts(8)))


@pytest.mark.parametrize("longest", [1, 2, 9])
def test_answers_are_as_long_as_they_may_be(llama: LanguageModel, longest: int) -> None:
    contexts = _contexts(9)
    got, _ = generate(llama, contexts, Generation((), longest), 400)
    assert max(map(len, got)) == longest
    assert got == [_wanted(llama, c, (), longest)[0] for c in contexts]


def test_long_contexts_keep_their_end(model: LanguageModel) -> None:
    rng = random.Random(4)
    shots = _text(rng, 90, 90)
    contexts = [shots + _text(rng, 1, 3) for _ in range(4)] + [_text(rng, 60, 120)]
    room = model.context - LONGEST
    got, tokens = generate(model, contexts, Generation((), LONGEST), 300)
    assert got == [_wanted(model, c[-room:], ())[0] for c in contexts]
    assert tokens <= 5 * (room + LONGEST - 1)


def test_an_answer_ends_where_the_model_does(model: LanguageModel) -> None:
    """An answer that may be longer than the model's context gets one token, and what fits."""
    for context in ("abc", "f" * 80):
        (got,), tokens = generate(model, [context], Generation((), 500), 300)
        assert got == _wanted(model, context[-1:], (), model.context)[0]
        assert tokens <= model.context


def test_equal_logits_go_to_the_lowest_token(tiny_folder: Path) -> None:
    model = _load(tiny_folder)
    with torch.no_grad():
        head = model.hf.get_output_embeddings().weight
        head[23:] = head[:20].clone()
    got, _ = generate(model, _contexts(1), Generation((), 6), 300)
    low = set(model.decode(range(23)))
    assert set("".join(got)) <= low
    assert got == [_wanted(model, c, (), 6)[0] for c in _contexts(1)]


@pytest.mark.parametrize(
    "setting",
    [
        {"repetition_penalty": 5.0},
        {"no_repeat_ngram_size": 2},
        {"suppress_tokens": list(range(5, 25))},
    ],
)
def test_settings_of_the_model_apply_as_in_the_harness(
    llama: LanguageModel, tiny_folder: Path, setting: dict[str, object]
) -> None:
    other = _load(tiny_folder)
    assert other.grows
    other.hf.generation_config.update(**setting)
    how = Generation((), LONGEST)
    wanted = [_wanted(other, c, ())[0] for c in _contexts(2)]
    assert generate(other, _contexts(2), how, 1)[0] == wanted
    assert wanted != generate(llama, _contexts(2), how, 300)[0]


@pytest.fixture
def adapted(tiny_folder: Path, tiny_space: Space) -> Iterator[LanguageModel]:
    model = LanguageModel(tiny_folder, torch.device("cpu"))
    config = tiny_space.build({"method": "lora", "r": 4, "num_layers": 3})
    with trainable(model, config, 1) as adapter:
        with torch.no_grad():
            for parameter in adapter.params.values():
                parameter.normal_(std=0.3)
        yield model


def test_the_adapter_on_the_model_counts(llama: LanguageModel, adapted: LanguageModel) -> None:
    contexts = _contexts(3)
    how = Generation(("d",), LONGEST)
    assert adapted.grows
    got, _ = generate(adapted, contexts, how, 300)
    assert got == [_wanted(adapted, c, ("d",))[0] for c in contexts]
    assert got != generate(llama, contexts, how, 300)[0]


def _length(text: str, gold: str) -> dict[str, float]:
    return {"exact_match": float(text == gold)}


def test_tokens_are_those_that_were_planned(
    llama: LanguageModel,
    tiny_spec: FineTune,
    tiny_space: Space,
    tiny_facts: ModelFacts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Answers as long as the right ones, and one letter a token: plan and bill are equal."""
    monkeypatch.setattr(text_task, "BYTES_A_TOKEN", 1)
    how = Generation(("b",), LONGEST, _length)
    rng = random.Random(12)
    shots = _text(rng, 39, 39)
    contexts = [shots + _text(rng, 2, 8) for _ in range(6)]
    lengths = [_wanted(llama, c, how.stop)[1] for c in contexts]
    assert len(set(lengths)) > 2
    asked = tuple(
        Generate(f"g{i}", context, "z" * (n - 1))
        for i, (context, n) in enumerate(zip(contexts, lengths, strict=True))
        if n > 1
    )
    assert len(asked) > 2
    spec = TextSpec(
        name="t",
        summary="A test.",
        model=tiny_facts,
        domains=tuple(tiny_spec.domains),
        visible=asked,
        hidden=asked[:1],
        recipe=tiny_spec.recipe,
        metrics=(EXACT_MATCH, GOLD_BPB),
        metric="exact_match",
        search=tiny_space,
        generation=how,
        estimate_tokens=len,
    )
    task = TextTask(spec)
    held_out = sum(len(r.prompt + r.answer) + 1 for d in spec.domains for r in d.held_out)
    planned = task.cost(tiny_space.default(), 0, 4)[1].tok - held_out
    assert planned == Scorer(llama, asked, how, 300).score().tokens
