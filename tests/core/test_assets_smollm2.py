"""The fetched SmolLM2, where it is in the cache: weights and tokenizer are the real ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from jobs_bench.assets.models import resolve
from jobs_bench.errors import MissingError
from jobs_bench.task.contract import ModelFacts


@pytest.fixture
def known() -> ModelFacts:
    try:
        return resolve("smollm2-135m")
    except MissingError as error:
        pytest.skip(str(error))


@pytest.mark.smollm2
@pytest.mark.slow
def test_it_knows_the_capital_of_france(known: ModelFacts) -> None:
    assert (known.n_layers, known.n_params, known.vocab) == (30, 134_515_008, 49_152)
    tokenizer = AutoTokenizer.from_pretrained(known.path)
    model: Any = AutoModelForCausalLM.from_pretrained(known.path)
    assert model.dtype == torch.float32
    assert sum(p.numel() for p in model.parameters()) == known.n_params
    prompt: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    with torch.no_grad():
        ids = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    answer = tokenizer.decode(ids[0][prompt["input_ids"].shape[1] :])
    assert answer == "The capital of France is Paris.<|im_end|>"
    assert tokenizer("2024")["input_ids"] == [34, 32, 34, 36]
