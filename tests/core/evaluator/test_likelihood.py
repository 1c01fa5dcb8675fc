"""Shared beginnings give the likelihoods that rows apart give, for every architecture that can."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from jobs_bench.evaluator.likelihood import Request, score_requests
from jobs_bench.train.language_model import LanguageModel


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> LanguageModel:
    return LanguageModel(tiny_folder, torch.device("cpu"))


def _ids(rng: random.Random, low: int, high: int) -> tuple[int, ...]:
    return tuple(rng.randrange(2, 40) for _ in range(rng.randint(low, high)))


def _few_shot(seed: int, groups: int) -> tuple[list[Request], list[int]]:
    """Return requests of questions with options, one beginning a group, and their question."""
    rng = random.Random(seed)
    requests: list[Request] = []
    families: list[int] = []
    for _ in range(groups):
        shots = _ids(rng, 26, 30)
        for _ in range(rng.randint(1, 4)):
            stem = (*shots, *_ids(rng, 1, 9))
            family = families[-1] + 1 if families else 0
            for _ in range(rng.randint(1, 4)):
                option = _ids(rng, 1, 6)
                requests.append(Request((*stem, *option), len(option)))
                families.append(family)
    return requests, families


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("eval_tokens", [64, 4096])
def test_sharing_changes_rounding_alone(model: LanguageModel, seed: int, eval_tokens: int) -> None:
    assert model.branches
    requests, families = _few_shot(seed, groups=3)
    apart, many = score_requests(model, requests, eval_tokens)
    shared, few = score_requests(model, requests, eval_tokens, families)
    assert few < many
    assert [s.greedy for s in shared] == [a.greedy for a in apart]
    for mine, wanted in zip(shared, apart, strict=True):
        assert mine.total == pytest.approx(wanted.total, rel=1e-5, abs=1e-5)


def test_a_branch_does_not_see_its_neighbours(model: LanguageModel) -> None:
    stem = tuple(range(2, 12))
    alone, _ = score_requests(model, [Request((*stem, 20, 21), 2)], 99, [0])
    among, _ = score_requests(
        model, [Request((*stem, 30, 5, 6, 7), 4), Request((*stem, 20, 21), 2)], 99, [0, 0]
    )
    assert among[1].total == pytest.approx(alone[0].total, rel=1e-6)


def test_models_with_windows_do_without(model: LanguageModel, tiny_folder: Path) -> None:
    other = LanguageModel(tiny_folder, torch.device("cpu"))
    other.hf.config.layer_types = ["full_attention", "sliding_attention", "full_attention"]
    assert not other.branches
    requests, families = _few_shot(1, groups=2)
    got, tokens = score_requests(other, requests, 4096, families)
    wanted, all_tokens = score_requests(model, requests, 4096)
    assert tokens == all_tokens
    assert [g.total for g in got] == [w.total for w in wanted]
