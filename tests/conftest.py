"""Fixtures that several rooms of the house use: a tiny real model, a fine-tuning spec on it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from jobs_bench.fidelity import Fidelity
from jobs_bench.space.presets import METHODS, lora_space
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Space
from jobs_bench.task.contract import ModelFacts
from jobs_bench.task.finetune import Choice, Domain, Exact, FineTune, Question, Recipe, Row

settings.register_profile("jobs-bench", deadline=None)  # two busy cores make any deadline flaky
settings.load_profile("jobs-bench")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Run benchmarks, which other runs skip, where their record is asked for."""
    if config.getoption("benchmark_json", default=None) is not None:
        config.option.benchmark_skip = False


LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789 ?:+-"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random two-layer Llama and a letter tokenizer, as a hub would give it."""
    folder = tmp_path_factory.mktemp("tiny-llama")
    vocab = {"<pad>": 0, "<end>": 1} | {c: i + 2 for i, c in enumerate(LETTERS)}
    raw = Tokenizer(models.WordLevel(vocab, unk_token="?"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    raw.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", eos_token="<end>", unk_token="?"
    )
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(vocab),
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=64,
                tie_word_embeddings=True,
                pad_token_id=0,
                bos_token_id=1,
                eos_token_id=1,
            )
        )
        for parameter in model.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.25)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_facts(tiny_folder: Path) -> ModelFacts:
    """What a task may know of the tiny model."""
    return ModelFacts(
        name="tiny",
        path=tiny_folder,
        digest="tiny",
        n_layers=3,
        n_params=3 * (32 * 32 * 2 + 32 * 16 * 2 + 3 * 32 * 48) + len(LETTERS) * 32,
        hidden=32,
        vocab=len(LETTERS) + 2,
        context=64,
    )


def _rows(kind: str, n: int) -> list[Row]:
    rng = random.Random(kind)
    rows = []
    for _ in range(n):
        word = "".join(rng.choice("abcdef") for _ in range(rng.randint(2, 5)))
        answer = {"copy": word, "back": word[::-1], "sort": "".join(sorted(word))}[kind]
        rows.append(Row(f"{kind}: {word}?", f" {answer}"))
    return rows


@pytest.fixture(scope="session")
def tiny_spec(tiny_folder: Path) -> FineTune:
    """Three letter domains, questions of the third, 12 steps."""
    questions: list[Question] = [
        Exact(f"q{i}", row.prompt, row.answer[1:]) for i, row in enumerate(_rows("sort", 24))
    ]
    questions += [Choice(f"c{i}", f"sort: {i}b?", ("a", "bc", "def"), i % 3) for i in range(6)]
    return FineTune(
        domains=tuple(
            Domain(kind, _rows(kind, 20)[:16], _rows(kind, 20)[16:])
            for kind in ("copy", "back", "sort")
        ),
        visible=tuple(questions[:24]),
        hidden=tuple(questions[:12]),
        recipe=Recipe(Fidelity((4, 8, 12)), batch_size=4, max_length=32, warmup_steps=2),
        metric="exact_match",
        higher_is_better=True,
        model_path=str(tiny_folder),
    )


@pytest.fixture(scope="session")
def tiny_space() -> Space:
    """The lora preset over the three letter domains, with every method."""
    return lora_space(
        Simplex("mixture", ("copy", "back", "sort"), floor=0.02),
        n_layers=3,
        learning_rate=(1e-3, 1e-1),
        default_learning_rate=1e-2,
        r=(1, 8),
        default_r=4,
        methods=METHODS,
    )
