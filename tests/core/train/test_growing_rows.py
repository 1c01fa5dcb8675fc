"""Rows read on trunks give the logits of whole rows, for every architecture, in float64."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
)

from jobs_bench.train import trunk_attention
from jobs_bench.train.growing_rows import GrowingRows, Joining, can_grow, kept
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.trunk_attention import Past

CPU = torch.device("cpu")
LENGTH = 24
WIDE: dict[str, Any] = {
    "vocab_size": 43,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": LENGTH,
}
CONFIGS = {
    "llama": LlamaConfig(intermediate_size=48, num_key_value_heads=2, **WIDE),
    "gpt2": GPT2Config(
        vocab_size=43, n_embd=32, n_layer=3, n_head=4, n_positions=LENGTH, scale_attn_weights=False
    ),
    "gpt_neox": GPTNeoXConfig(intermediate_size=48, **WIDE),
    "opt": OPTConfig(ffn_dim=48, word_embed_proj_dim=32, **WIDE),
}


def _model(config: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        loader: Any = AutoModelForCausalLM
        made = loader.from_config(config).double().eval()
        for parameter in made.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.2)
    return made


@pytest.mark.parametrize("piece", [trunk_attention.PIECE, 1, 300])
@pytest.mark.parametrize("kind", CONFIGS)
def test_rows_that_join_grow_and_leave(
    kind: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk_attention, "PIECE", piece)
    hf = _model(CONFIGS[kind])
    assert can_grow(hf, CPU)
    rng = random.Random(2)
    shared = [[rng.randrange(43) for _ in range(n)] for n in (10, 7)]
    trunks: list[tuple[Past | None, list[int]]] = [
        *((kept(hf, torch.tensor([ids])), ids) for ids in shared),
        (None, []),
    ]
    rows = GrowingRows(hf, CPU)
    whole: list[list[int]] = []
    own: list[int] = []
    grow: list[bool] = []
    for turn in range(18):
        if turn % 3 == 0:
            stay = [k for k in range(len(whole)) if grow[k] and rng.random() < 0.7 and own[k] < 8]
            join: list[Joining] = []
            fresh: list[list[int]] = []
            for _ in range(rng.randint(0 if stay else 1, 3)):
                past, before = rng.choice(trunks)
                ids = [rng.randrange(43) for _ in range(rng.choice((0, 0, 1, 6)))]
                join.append(Joining(past, ids))
                fresh.append([*before, *ids])
            rows.change(stay, join, 14)
            whole = [*(whole[k] for k in stay), *fresh]
            own = [*(own[k] for k in stay), *(len(row.ids) for row in join)]
            grow = [True] * len(whole)
        tokens = [rng.randrange(43) for _ in whole]
        grow = [going and rng.random() < 0.9 for going in grow]
        got = rows.step(tokens, grow)
        for k, token in enumerate(tokens):
            if not grow[k]:
                continue
            with torch.no_grad():
                wanted = hf(input_ids=torch.tensor([[*whole[k], token]])).logits[0, -1]
            torch.testing.assert_close(got[k], wanted, rtol=1e-9, atol=1e-9)
            whole[k] = [*whole[k], token]
            own[k] += 1


def test_padding_needs_no_position_beyond_the_last() -> None:
    """A short row on a long trunk beside a long row: the model has no position for its padding."""
    hf = _model(CONFIGS["gpt2"])
    trunk = list(range(18))
    past = kept(hf, torch.tensor([trunk]))
    rows = GrowingRows(hf, CPU)
    rows.change([], [Joining(past, [1, 2]), Joining(None, list(range(20)))], LENGTH)
    got = rows.step([3, 4], [True, True])
    with torch.no_grad():
        wanted = hf(input_ids=torch.tensor([[*trunk, 1, 2, 3]])).logits[0, -1]
    torch.testing.assert_close(got[0], wanted, rtol=1e-9, atol=1e-9)


def test_a_row_that_has_ended_needs_no_place() -> None:
    hf = _model(CONFIGS["gpt2"])
    rows = GrowingRows(hf, CPU)
    rows.change([], [Joining(None, list(range(LENGTH - 1))), Joining(None, [1])], LENGTH)
    rows.step([2, 3], [True, True])
    got = rows.step([2, 4], [False, True])
    with torch.no_grad():
        wanted = hf(input_ids=torch.tensor([[1, 3, 4]])).logits[0, -1]
    torch.testing.assert_close(got[1], wanted, rtol=1e-9, atol=1e-9)


def test_models_that_cannot_say_so(tiny_folder: Path) -> None:
    capped = Gemma2Config(
        intermediate_size=48,
        num_key_value_heads=2,
        head_dim=8,
        layer_types=["full_attention"] * 3,
        **WIDE,
    )
    assert not can_grow(_model(capped), CPU), "it caps scores"
    model = LanguageModel(tiny_folder, CPU)
    assert model.grows
    windows = LanguageModel(tiny_folder, CPU)
    windows.hf.config.layer_types = ["full_attention", "sliding_attention", "full_attention"]
    assert not windows.grows
    other = LanguageModel(tiny_folder, CPU)
    for module in other.hf.modules():
        if isinstance(getattr(module, "scaling", None), float):
            module.register_forward_pre_hook(_unlike)
    assert not can_grow(other.hf, CPU), "its attention does something else besides"


def _unlike(module: Any, _: object) -> None:
    """Scale scores otherwise where the trunk's attention is on."""
    module.scaling = 0.1 if module.config._attn_implementation == trunk_attention.NAME else 0.5
