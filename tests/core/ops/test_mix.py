from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs_bench import ops
from jobs_bench.errors import DataError
from jobs_bench.ops._mix import permute, reference_mix_counts, reference_mix_indices
from jobs_bench.ops._mix_tree import WEIGHT_TOTAL, phases, stratified_domains
from jobs_bench.ops._philox import philox

WORDS = tuple[int, int, int, int]


def need_native() -> None:
    if "CPU" not in ops.native_backends():
        pytest.skip(f"no native CPU kernel: {ops.why_no_native}")


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
    assert ops.mix_counts(torch.tensor([frozen]), [n])[0].tolist() == running[-1].tolist()


def _deviation(frozen: np.ndarray, position: int) -> float:
    """Return the worst distance of a count from its target, in exact arithmetic."""
    counts: list[int] = ops.mix_counts(torch.from_numpy(frozen[None]), [position])[0].tolist()
    return max(
        float(abs(c * WEIGHT_TOTAL - int(w) * position) / WEIGHT_TOTAL)
        for c, w in zip(counts, frozen, strict=True)
    )


@pytest.mark.parametrize("domains", [2, 9, 32, 128])
@pytest.mark.parametrize("concentration", [0.05, 0.3, 1.0, 10.0])
def test_dirichlet_mixtures_are_realised_at_any_step(domains: int, concentration: float) -> None:
    rng = np.random.default_rng([domains, int(100 * concentration)])
    start, n = 10**9, 4000
    for _ in range(8):
        frozen = np.asarray(ops.freeze_weights(rng.dirichlet([concentration] * domains).tolist()))
        at = np.concatenate([rng.integers(0, 10**4, 40), rng.integers(0, 2**59, 40)])
        assert max(_deviation(frozen, int(t)) for t in at) <= 1.5
        weights = torch.from_numpy(frozen[None])
        before = ops.mix_counts(weights, [start])[0].numpy()
        domain, _ = ops.mix_indices(weights, torch.full((domains,), 7), [1], [start], n)
        steps = np.zeros((n, domains), dtype=np.int64)
        steps[np.arange(n), domain[0].numpy()] = 1
        running = before + steps.cumsum(axis=0)
        error = running - np.arange(start + 1, start + n + 1)[:, None] * (frozen / WEIGHT_TOTAL)
        assert np.abs(error).max() <= 1.5 + 1e-6
        assert (running[-1] == ops.mix_counts(weights, [start + n])[0].numpy()).all()


@given(mixtures, st.integers(0, 2**60 - 1))
@settings(max_examples=100, deadline=None)
def test_one_position_more_is_one_draw_more(weights: list[float], position: int) -> None:
    frozen = torch.tensor([ops.freeze_weights(weights)] * 2)
    before, after = ops.mix_counts(frozen, [position, position + 1])
    domain, _ = ops.mix_indices(
        frozen[:1], torch.ones(len(weights), dtype=torch.int64), [0], [position], 1
    )
    want = torch.zeros_like(before)
    want[domain[0, 0]] = 1
    assert torch.equal(after - before, want)


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


@st.composite
def many_streams(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, list[int], list[int]]:
    """Weights, sizes, seeds and caps (or none) of one to three streams over the same domains."""
    many = draw(st.lists(mixtures, min_size=1, max_size=3))
    width = max(len(w) for w in many)
    weights = torch.tensor([ops.freeze_weights(w + [0.0] * (width - len(w))) for w in many])
    sizes = draw(st.lists(st.integers(1, 2**40), min_size=width, max_size=width))
    seeds = draw(st.lists(st.integers(0, 2**63 - 1), min_size=len(many), max_size=len(many)))
    cap = st.one_of(st.integers(1, 60), st.integers(1, 2**59))
    caps = draw(st.one_of(st.just([]), st.lists(cap, min_size=width, max_size=width)))
    return weights, torch.tensor(sizes), seeds, caps


@given(many_streams(), st.integers(0, 2**60 - 300), st.booleans())
@settings(max_examples=100, deadline=None)
def test_native_bits_are_the_references(
    streams: tuple[torch.Tensor, torch.Tensor, list[int], list[int]], start: int, stratified: bool
) -> None:
    need_native()
    weights, sizes, seeds, caps = streams
    if not stratified:
        caps = []
    if caps:  # positions that exist, most of them around a phase's end
        ends = [[p.stop for p in phases(w, caps)] for w in weights.tolist()]
        start = min(start, min(min(e[-1], 2**60) for e in ends))
        start = max(0, min(start, ends[0][start % len(ends[0])]) - 100)
        n = min(200, min(e[-1] for e in ends) - start)
        counts = ops.mix_counts(weights, [start + n] * len(seeds), caps=caps)
        want_counts = reference_mix_counts(weights, [start + n] * len(seeds), caps)
        assert torch.equal(counts, want_counts)
    else:
        n = 200
    args = (weights, sizes, seeds, [start] * len(seeds), n)
    got = ops.mix_indices(*args, stratified=stratified, caps=caps)
    want = reference_mix_indices(*args, stratified, caps)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


@pytest.mark.parametrize("stratified", [True, False])
def test_bits_are_those_of_the_first_release(stratified: bool) -> None:
    """A recorded study draws the same rows for ever."""
    weights = torch.tensor(
        [ops.freeze_weights([0.5, 0.2, 0, 0.3]), ops.freeze_weights([1e-6, 3, 5, 0.1])]
    )
    digest = hashlib.sha256()
    for start in (0, 10**9, 2**59):
        drawn = ops.mix_indices(
            weights,
            torch.tensor([11, 300, 5, 2**33 + 17]),
            [9, 2**62 + 5],
            [start, start + 7],
            500,
            stratified=stratified,
        )
        for part in drawn:
            digest.update(part.numpy().tobytes())
    assert digest.hexdigest() == (
        "49826234732adb3b65991b5185653e0578b269c27c47e184f572a0f5330e89d2"
        if stratified
        else "7cc60e0ad1d409e6f7b075c3961d4789d9018563f0b32590fab99f9c108e900e"
    )


def test_threads_change_no_bit() -> None:
    weights = torch.tensor([ops.freeze_weights([0.5, 0.2, 0.3])] * 2)
    args = (weights, torch.tensor([1000, 17, 5]), [3, 4], [5, 10**9], 20_000)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = ops.mix_indices(*args)
        torch.set_num_threads(2)
        two = ops.mix_indices(*args)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[1], two[1])


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


@given(
    mixtures.filter(lambda w: len(w) <= 8),
    st.lists(st.integers(1, 12), min_size=8, max_size=8),
    st.integers(1, 3),
)
@settings(max_examples=80, deadline=None)
def test_exhausted_domains_leave_and_the_others_share_their_weight(
    weights: list[float], sizes: list[int], epochs: int
) -> None:
    sizes = sizes[: len(weights)]
    caps = ops.epoch_caps(sizes, epochs)
    frozen = ops.freeze_weights(weights)
    n = sum(c for c, w in zip(caps, frozen, strict=True) if w)
    args = (torch.tensor([frozen]), torch.tensor(sizes), [7], [0])
    domain, row = (x[0].numpy() for x in ops.mix_indices(*args, n, caps=caps))
    for d, size in enumerate(sizes):  # every row as often as it may be drawn, then never
        drawn = row[domain == d]
        want = epochs if frozen[d] else 0
        assert np.bincount(drawn, minlength=size).tolist() == [want] * size
        for e in range(len(drawn) // size):
            assert len(set(drawn[e * size : (e + 1) * size].tolist())) == size
    running = np.eye(len(sizes), dtype=np.int64)[domain].cumsum(axis=0)
    at = np.arange(1, n + 1)
    for phase in phases(frozen, caps):
        here = (at > phase.start) & (at <= phase.stop)
        share = np.asarray(phase.weights) / sum(phase.weights)
        target = np.asarray(phase.drawn) + (at[here] - phase.start)[:, None] * share
        assert np.abs(running[here] - target).max() <= 1.5 + 1e-9
    with pytest.raises(DataError, match=f"ends at position {n}"):
        ops.mix_indices(*args, n + 1, caps=caps)
    with pytest.raises(DataError, match=f"ends at position {n}"):
        reference_mix_indices(*args, n + 1, True, caps)


def test_caps_that_do_not_bind_change_nothing() -> None:
    weights = torch.tensor([ops.freeze_weights([0.6, 0.4])])
    sizes = torch.tensor([50, 80])
    free = ops.mix_indices(weights, sizes, [3], [0], 100)
    capped = ops.mix_indices(weights, sizes, [3], [0], 100, caps=ops.epoch_caps([50, 80], 2))
    assert torch.equal(free[0], capped[0])
    assert torch.equal(free[1], capped[1])


def test_parts_of_an_epoch_are_whole_rows() -> None:
    assert ops.epoch_caps([10, 3, 1, 0], 0.5) == [5, 1, 1, 0]
    assert ops.epoch_caps([10, 3], [1.25, 4]) == [12, 12]
    with pytest.raises(DataError, match="wanted > 0"):
        ops.epoch_caps([10], 0.0)
    with pytest.raises(DataError, match="for 2 domains"):
        ops.epoch_caps([10, 3], [1.0])


def test_iid_draws_follow_the_weights() -> None:
    """Chi-square on ten million draws, of domains and of rows."""
    need_native()
    n = 10_000_000
    shares = [0.4, 0.3, 0.2, 0.06, 0.03, 0.01]
    frozen = torch.tensor([ops.freeze_weights(shares)])
    size = 50
    domain, row = ops.mix_indices(frozen, torch.tensor([size] * 6), [3], [0], n, stratified=False)
    cells = np.bincount((domain[0] * size + row[0]).numpy(), minlength=6 * size)
    counts = cells.reshape(6, size)
    want = np.asarray(shares) * n
    assert ((counts.sum(1) - want) ** 2 / want).sum() < 25.7  # 5 degrees, 0.9999 quantile
    each = want[:, None] / size
    assert ((counts - each) ** 2 / each).sum() < 397.7  # 299 degrees, 0.9999 quantile


def test_iid_draws_are_independent_of_their_neighbours() -> None:
    shares = [0.5, 0.3, 0.2]
    n = 300_000
    frozen = torch.tensor([ops.freeze_weights(shares)])
    sizes = torch.tensor([10] * 3)
    domain = ops.mix_indices(frozen, sizes, [11], [2**40], n, stratified=False)[0][0].numpy()
    pairs = np.bincount(3 * domain[:-1] + domain[1:], minlength=9)
    want = np.outer(shares, shares).ravel() * (n - 1)
    assert ((pairs - want) ** 2 / want).sum() < 33  # 8 degrees, 0.9999 quantile is 31.8


def test_registration() -> None:
    weights = torch.tensor([ops.freeze_weights([0.5, 0.5])])
    check = torch.library.opcheck
    check(
        torch.ops.jobs_bench.mix_indices.default, (weights, torch.tensor([3, 4]), [1], [2], 5, True)
    )
    check(torch.ops.jobs_bench.mix_counts.default, (weights, [2], [5, 5]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": torch.tensor([[1, 2]])}, "wanted 1073741824"),
        ({"weights": torch.tensor([[0.5, 0.5]])}, "wanted torch.int64"),
        ({"sizes": torch.tensor([3])}, r"wanted \(K, D\), \(D,\)"),
        ({"sizes": torch.tensor([3, 0])}, "domain 1, which has 0 rows"),
        ({"seeds": [1, 2]}, "got 2 seeds"),
        ({"seeds": [-1]}, "wanted"),
        ({"starts": [-1]}, "wanted"),
        ({"starts": [2**60]}, "wanted"),
        ({"n": -1}, "wanted at least 0"),
        ({"caps": [1]}, "got 1 caps"),
        ({"caps": [1, 0]}, "domain 1 has a weight and may be drawn 0 times"),
        ({"caps": [1, 1]}, "ends at position 2"),
        ({"caps": [9, 9], "stratified": False}, "wanted them stratified"),
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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (([[1, 2]], [3, 4], [1], [0], 4, True, []), "wanted weights >= 0 of sum|of sum 3"),
        (([[-1, 2**30 + 1]], [3, 4], [1], [0], 4, True, []), "got weight -1"),
        (([[2**62, 2**62]], [3, 4], [1], [0], 4, True, []), "got weight"),
        (([[2**29, 2**29]], [3, 0], [1], [0], 4, True, []), "which has 0 rows"),
        (([[2**29, 2**29]], [3, 4], [1, 2], [0], 4, True, []), "got 2 seeds"),
        (([[2**29, 2**29]], [3, 4], [-1], [0], 4, True, []), "got seed -1"),
        (([[2**29, 2**29]], [3, 4], [1], [2**60], 4, True, []), "got start"),
        (([[2**29, 2**29]], [3, 4], [1], [0], -4, True, []), "got n=-4"),
        (([[2**29, 2**29]], [3, 4], [1], [0], 4, True, [1]), "got 1 caps"),
        (([[2**29, 2**29]], [3, 4], [1], [0], 4, True, [1, 0]), "may be drawn 0 times"),
        (([[2**29, 2**29]], [3, 4], [1], [0], 4, True, [1, 1]), "ends at position 2"),
        (([[2**29, 2**29]], [3, 4], [1], [0], 4, False, [9, 9]), "wanted them stratified"),
    ],
)
def test_the_native_operator_refuses_them_too(args: tuple[object, ...], message: str) -> None:
    """Whoever calls it past the public function gets a sentence, not a crash."""
    need_native()
    weights, sizes, *rest = args
    with pytest.raises(RuntimeError, match=message):
        torch.ops.jobs_bench.mix_indices(torch.tensor(weights), torch.tensor(sizes), *rest)


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [-1.0, 2.0], [math.nan, 1.0]])
def test_impossible_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(DataError, match="wanted finite"):
        ops.freeze_weights(weights)
