from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs_bench import ops
from jobs_bench.errors import DataError
from jobs_bench.ops._mix import (
    WEIGHT_TOTAL,
    permute,
    reference_mix_indices,
    stratified_domains,
)
from jobs_bench.ops._philox import philox

WORDS = tuple[int, int, int, int]


@pytest.mark.parametrize(
    ("counter", "key", "want"),
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter: WORDS, key: tuple[int, int], want: WORDS) -> None:
    """The vectors of Random123's kat_vectors file."""
    c = tuple(np.asarray(x, dtype=np.uint64) for x in counter)
    k = tuple(np.asarray(x, dtype=np.uint64) for x in key)
    assert tuple(int(x) for x in philox(c, k)) == want  # type: ignore[arg-type]


mixtures = st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1.0)), min_size=1, max_size=24).filter(
    lambda w: sum(w) > 0
)


@given(mixtures)
def test_frozen_weights_are_exact(weights: list[float]) -> None:
    frozen = ops.freeze_weights(weights)
    assert sum(frozen) == WEIGHT_TOTAL
    total = math.fsum(weights)
    for w, f in zip(weights, frozen, strict=True):
        assert (w > 0) == (f > 0)
        assert abs(f - w / total * WEIGHT_TOTAL) < len(weights) + 1


@given(mixtures)
@settings(max_examples=60, deadline=None)
def test_counts_stay_within_one_and_a_half_of_the_target(weights: list[float]) -> None:
    n = 3000
    frozen = ops.freeze_weights(weights)
    domain, count = stratified_domains(frozen, np.arange(n))
    seen = np.zeros((n, len(frozen)))
    seen[np.arange(n), domain] = 1
    running = seen.cumsum(axis=0)
    target = np.arange(1, n + 1)[:, None] * (np.asarray(frozen) / WEIGHT_TOTAL)
    assert np.abs(running - target).max() <= 1.5
    assert (running[np.arange(n), domain] - 1 == count).all()
    assert ops.mix_counts(frozen, n) == running[-1].astype(int).tolist()


@given(st.integers(1, 400), st.integers(0, 2**63 - 1), st.integers(0, 5), st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_each_epoch_is_a_permutation(size: int, seed: int, domain: int, epoch: int) -> None:
    rows = permute(np.arange(size) + epoch * size, size, seed, domain)
    assert sorted(rows.tolist()) == list(range(size))


def test_permutations_are_fair() -> None:
    """Over seeds, every row stands at every place equally often (chi-square, 36 degrees)."""
    n, seeds = 7, 4000
    hits = np.zeros((n, n))
    for seed in range(seeds):
        hits[np.arange(n), permute(np.arange(n), n, seed, 1)] += 1
    assert ((hits - seeds / n) ** 2 / (seeds / n)).sum() < 73  # 0.9998 quantile


@given(
    st.lists(mixtures, min_size=1, max_size=3),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2**60 - 300),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_native_bits_are_the_references(
    many: list[list[float]], seed: int, start: int, stratified: bool
) -> None:
    if "CPU" not in ops.native_backends():
        pytest.skip(f"no native CPU kernel: {ops.why_no_native}")
    width = max(len(w) for w in many)
    weights = torch.tensor([ops.freeze_weights(w + [0.0] * (width - len(w))) for w in many])
    sizes = torch.tensor([1 + (seed >> i) % (1 << (1 + i * 2)) for i in range(width)])
    seeds = [(seed + k) % 2**63 for k in range(len(many))]
    args = (weights, sizes, seeds, [start] * len(many), 200)
    got = ops.mix_indices(*args, stratified=stratified)
    want = reference_mix_indices(*args, stratified)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


@pytest.mark.parametrize("stratified", [True, False])
def test_a_stream_is_a_pure_function_of_position(stratified: bool) -> None:
    weights = torch.tensor([ops.freeze_weights([0.5, 0.2, 0.0, 0.3])])
    sizes = torch.tensor([11, 300, 5, 64])
    whole = ops.mix_indices(weights, sizes, [9], [0], 600, stratified=stratified)
    for start, n in ((0, 1), (17, 100), (599, 1), (300, 300)):
        part = ops.mix_indices(weights, sizes, [9], [start], n, stratified=stratified)
        assert torch.equal(part[0][0], whole[0][0, start : start + n])
        assert torch.equal(part[1][0], whole[1][0, start : start + n])
    assert not (whole[0] == 2).any(), "a domain of weight 0 was drawn"


def test_iid_draws_follow_the_weights() -> None:
    n = 200_000
    weights = [0.5, 0.3, 0.15, 0.05]
    frozen = torch.tensor([ops.freeze_weights(weights)])
    domain, row = ops.mix_indices(frozen, torch.tensor([10] * 4), [3], [0], n, stratified=False)
    counts = np.bincount(domain[0].numpy(), minlength=4)
    want = np.asarray(weights) * n
    assert ((counts - want) ** 2 / want).sum() < 21  # 3 degrees, 0.9999 quantile
    rows = np.bincount(row[0].numpy(), minlength=10)
    assert ((rows - n / 10) ** 2 / (n / 10)).sum() < 34  # 9 degrees


def test_registration() -> None:
    args = (torch.tensor([ops.freeze_weights([0.5, 0.5])]), torch.tensor([3, 4]), [1], [2], 5, True)
    torch.library.opcheck(torch.ops.jobs_bench.mix_indices.default, args)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": torch.tensor([[1, 2]])}, "wanted 1073741824"),
        ({"weights": torch.tensor([[0.5, 0.5]])}, "wanted torch.int64"),
        ({"sizes": torch.tensor([3])}, r"wanted \(K, D\), \(D,\)"),
        ({"sizes": torch.tensor([3, 0])}, "domain 1, which has 0 rows"),
        ({"seeds": [1, 2]}, "got 2 seeds"),
        ({"starts": [-1]}, "wanted"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    args = {
        "weights": torch.tensor([ops.freeze_weights([0.5, 0.5])]),
        "sizes": torch.tensor([3, 4]),
        "seeds": [1],
        "starts": [0],
        "n": 4,
    } | change
    with pytest.raises(DataError, match=message):
        ops.mix_indices(**args)  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [-1.0, 2.0], [math.nan, 1.0]])
def test_impossible_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(DataError, match="wanted finite"):
        ops.freeze_weights(weights)
