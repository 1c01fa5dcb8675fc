from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs_bench import ops
from jobs_bench.errors import DataError
from jobs_bench.ops._mix_batch import reference_mix_batch
from jobs_bench.ops._mix_pack import next_fit, reference_mix_pack


def corpus_of(lengths: list[list[int]], dtype: torch.dtype = torch.int32) -> ops.CorpusTensors:
    """Documents of the given lengths, domain by domain; every token says where it stands."""
    flat = [n for domain in lengths for n in domain]
    offsets = torch.tensor([0, *np.cumsum(flat)], dtype=torch.int64)
    domains = torch.tensor([0, *np.cumsum([len(d) for d in lengths])], dtype=torch.int64)
    tokens = torch.arange(1, 1 + sum(flat), dtype=torch.int32).to(dtype)
    return ops.CorpusTensors(tokens, offsets, domains)


def streams_of(
    corpus: ops.CorpusTensors, weights: list[list[float]], seed: int = 0, **options: Any
) -> ops.MixStreams:
    frozen = torch.tensor([ops.freeze_weights(w) for w in weights])
    return ops.MixStreams(corpus, frozen, tuple(seed + k for k in range(len(weights))), **options)


def raw(streams: ops.MixStreams, starts: list[int], *rest: object) -> tuple[object, ...]:
    """The operator's arguments."""
    c = streams.corpus
    head = (c.tokens, c.offsets, c.domains, streams.weights, streams.seeds, starts)
    return (*head, streams.caps, streams.stratified, *rest)


@st.composite
def streams_over_a_corpus(draw: st.DrawFn) -> ops.MixStreams:
    domain = st.lists(st.integers(0, 40), min_size=1, max_size=12)
    lengths = draw(st.lists(domain, min_size=1, max_size=5))
    weight = st.one_of(st.just(0.0), st.floats(1e-3, 1.0))
    row = st.lists(weight, min_size=len(lengths), max_size=len(lengths)).filter(any)
    corpus = corpus_of(lengths, draw(st.sampled_from([torch.uint16, torch.int32])))
    weights = draw(st.lists(row, min_size=1, max_size=4))
    stratified = draw(st.booleans())
    return streams_of(corpus, weights, draw(st.integers(0, 2**62)), stratified=stratified)


rows_of = st.integers(0, 9)
row_length = st.integers(1, 60)
start_of = st.integers(0, 2**59)


@given(streams_over_a_corpus(), start_of, rows_of, row_length, st.booleans())
@settings(max_examples=100, deadline=None)
def test_padded_batches_are_the_references(
    streams: ops.MixStreams, start: int, n: int, length: int, wide: bool
) -> None:
    starts = [start + k for k in range(len(streams.seeds))]
    dtype = torch.int64 if wide else torch.int32
    got = ops.mix_batch(streams, starts, n, length, pad=-7, dtype=dtype)
    want = reference_mix_batch(*raw(streams, starts, n, length, -7, wide))  # type: ignore[arg-type]
    assert torch.equal(got.ids, want[0])
    assert got.ids.dtype == want[0].dtype == dtype
    assert torch.equal(torch.stack([got.lengths, got.domain, got.document]), want[1])


@given(streams_over_a_corpus(), start_of, rows_of, rows_of, row_length, st.booleans())
@settings(max_examples=150, deadline=None)
def test_packed_batches_are_the_references(
    streams: ops.MixStreams, start: int, n: int, rows: int, length: int, wide: bool
) -> None:
    starts = [start + k for k in range(len(streams.seeds))]
    dtype = torch.int64 if wide else torch.int32
    got = ops.mix_pack(streams, starts, n, rows, length, pad=-7, dtype=dtype, whole=False)
    args = raw(streams, starts, n, rows, length, -7, wide)
    want = reference_mix_pack(*args)  # type: ignore[arg-type]
    assert torch.equal(got.ids, want[0])
    assert got.ids.dtype == want[0].dtype == dtype
    assert torch.equal(torch.stack([got.positions, got.segments]), want[1])
    assert torch.equal(got.documents, want[2])
    assert torch.equal(torch.stack([got.lengths, got.domain, got.document]), want[3])


@given(streams_over_a_corpus(), start_of, rows_of, row_length)
@settings(max_examples=100, deadline=None)
def test_packing_changes_no_step(streams: ops.MixStreams, start: int, n: int, length: int) -> None:
    """A packed step, taken apart, is the padded one: same documents, same order, same tokens."""
    starts = [start] * len(streams.seeds)
    padded = ops.mix_batch(streams, starts, n, length, pad=-1)
    packed = ops.mix_pack(streams, starts, n, n, length, pad=-1)  # rows that always suffice
    assert torch.equal(padded.document, packed.document)
    assert packed.left_out.tolist() == [0] * len(starts)
    for k in range(len(starts)):
        found = []
        for r in range(n):
            for s in range(1, int(packed.documents[k, r]) + 1):
                here = packed.segments[k, r] == s
                found.append(packed.ids[k, r][here].tolist())
                at = packed.positions[k, r][here]
                assert torch.equal(at, torch.arange(len(at), dtype=torch.int32))
            padding = packed.segments[k, r] == 0
            assert (packed.ids[k, r][padding] == -1).all()
            assert (packed.positions[k, r][padding] == 0).all()
        want = [
            row[:m].tolist()
            for row, m in zip(padded.ids[k], padded.lengths[k].tolist(), strict=True)
        ]
        assert found == want


@given(st.lists(st.integers(0, 20), max_size=30), rows_of, st.integers(20, 50))
def test_next_fit(lengths: list[int], rows: int, capacity: int) -> None:
    placed = next_fit(np.asarray(lengths, dtype=np.int64), rows, capacity)
    assert placed == sorted(placed)
    assert all(row < rows for row in placed)
    filled = [0] * rows
    for i, row in enumerate(placed):
        if row and not (i and placed[i - 1] == row):  # opened because it did not fit before
            assert filled[row - 1] + lengths[i] > capacity
        filled[row] += lengths[i]
    assert all(f <= capacity for f in filled)
    if len(placed) < len(lengths):
        assert rows == 0 or filled[-1] + lengths[len(placed)] > capacity


@pytest.mark.parametrize("stratified", [True, False])
def test_batches_are_pure_functions_of_the_position(stratified: bool) -> None:
    corpus = corpus_of([[3, 9, 30], [5] * 20, [12, 1]])
    streams = streams_of(corpus, [[0.2, 0.5, 0.3], [1, 0, 1]], stratified=stratified)
    whole = ops.mix_batch(streams, [10**9, 5], 64, 16)
    for step in range(8):
        part = ops.mix_batch(streams, [10**9 + 8 * step, 5 + 8 * step], 8, 16)
        assert torch.equal(part.ids, whole.ids[:, 8 * step : 8 * step + 8])
        assert torch.equal(part.document, whole.document[:, 8 * step : 8 * step + 8])


def test_streams_do_not_know_each_other() -> None:
    corpus = corpus_of([[3, 9, 30], [5] * 20, [12, 1]])
    weights = [[0.2, 0.5, 0.3], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    together = ops.mix_pack(streams_of(corpus, weights), [7, 8, 9], 12, 12, 32)
    for k, w in enumerate(weights):
        alone = ops.mix_pack(streams_of(corpus, [w], seed=k), [7 + k], 12, 12, 32)
        assert torch.equal(alone.ids[0], together.ids[k])
        assert torch.equal(alone.segments[0], together.segments[k])


def test_threads_change_no_bit() -> None:
    rng = np.random.default_rng(0)
    corpus = corpus_of([rng.integers(0, 900, 200).tolist() for _ in range(4)])
    streams = streams_of(corpus, [[0.1, 0.2, 0.3, 0.4], [1, 0, 0, 1]])
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            padded = ops.mix_batch(streams, [3, 10**12], 257, 512)
            packed = ops.mix_pack(streams, [3, 10**12], 257, 257, 1024)
            made.append((padded.ids, padded.document, packed.ids, packed.positions))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))


def test_padded_and_packed_steps_realise_the_mixture() -> None:
    rng = np.random.default_rng(1)
    corpus = corpus_of([rng.integers(1, 90, 50).tolist() for _ in range(16)])
    shares = rng.dirichlet([0.4] * 16)
    streams = streams_of(corpus, [shares.tolist()])
    size, counts = 24, np.zeros(16)
    for step in range(50):
        packed = ops.mix_pack(streams, [step * size], size, size, 128)
        counts += np.bincount(packed.domain[0].numpy(), minlength=16)
        assert np.abs(counts - shares * size * (step + 1)).max() <= 1.5 + 1e-5
    assert counts.tolist() == ops.mix_counts(streams.weights, [50 * size])[0].tolist()


def test_documents_without_room_are_refused_or_counted() -> None:
    corpus = corpus_of([[10] * 7])
    streams = streams_of(corpus, [[1.0], [1.0]])
    with pytest.raises(DataError, match="2 of 6 documents of stream 0 at position 4 find no room"):
        ops.mix_pack(streams, [4, 5], 6, 2, 25)
    packed = ops.mix_pack(streams, [4, 5], 6, 2, 25, whole=False)
    assert packed.left_out.tolist() == [2, 2]
    assert packed.documents.tolist() == [[2, 2], [2, 2]]
    assert packed.document.shape == (2, 6)


def test_caps_hold_in_batches() -> None:
    corpus = corpus_of([[2] * 4, [3] * 10])
    streams = streams_of(corpus, [[0.9, 0.1]], caps=(8, 10))
    seen = ops.mix_batch(streams, [0], 18, 4).document
    assert torch.bincount(seen[0]).tolist() == [2] * 4 + [1] * 10
    with pytest.raises(DataError, match="ends at position 18"):
        ops.mix_batch(streams, [0], 19, 4)


def test_empty_documents_and_no_rows() -> None:
    corpus = corpus_of([[0, 0, 3]])
    streams = streams_of(corpus, [[1.0]])
    packed = ops.mix_pack(streams, [0], 6, 2, 3, pad=9)
    assert packed.documents.sum() == 6
    assert (packed.ids != 9).sum() == 6
    assert ops.mix_batch(streams, [0], 0, 5).ids.shape == (1, 0, 5)
    assert ops.mix_pack(streams, [0], 0, 0, 5).ids.shape == (1, 0, 5)
    none = ops.MixStreams(corpus, streams.weights[:0], ())
    assert ops.mix_batch(none, [], 4, 5).ids.shape == (0, 4, 5)


def test_registration() -> None:
    streams = streams_of(corpus_of([[4, 2], [7]]), [[0.5, 0.5], [0.1, 0.9]])
    check = torch.library.opcheck
    check(torch.ops.jobs_bench.mix_batch.default, raw(streams, [1, 2], 3, 8, 0, False))
    check(torch.ops.jobs_bench.mix_pack.default, raw(streams, [1, 2], 3, 3, 8, 0, True))


GOOD: tuple[Any, ...] = (
    torch.zeros(10, dtype=torch.int32),
    torch.tensor([0, 4, 10]),
    torch.tensor([0, 1, 2]),
)


@pytest.mark.parametrize(
    ("at", "bad", "message"),
    [
        (0, torch.zeros(10), "wanted torch.uint16 or torch.int32"),
        (0, torch.zeros((2, 5), dtype=torch.int32), "one contiguous dimension"),
        (0, torch.zeros(20, dtype=torch.int32)[::2], "one contiguous dimension"),
        (0, torch.zeros(9, dtype=torch.int32), r"got offsets over 0 .. 10; wanted 0 .. 9"),
        (1, torch.tensor([0, 4, 10], dtype=torch.int32), "wanted torch.int64"),
        (1, torch.tensor([0, 11, 10]), "offsets fall from 11 to 10 at 2"),
        (1, torch.tensor([1, 4, 10]), r"got offsets over 1 .. 10"),
        (1, torch.zeros(0, dtype=torch.int64), "got offsets over nothing"),
        (2, torch.tensor([0, 1]), r"got domains over 0 .. 1; wanted 0 .. 2"),
        (2, torch.tensor([0, 3, 2]), "domains fall from 3 to 2"),
    ],
)
def test_corpora_that_cannot_be_are_refused(at: int, bad: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ops.CorpusTensors(*(bad if k == at else x for k, x in enumerate(GOOD)))


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32])
def test_tokens_outside_of_the_vocabulary_are_refused(dtype: torch.dtype) -> None:
    tokens = torch.tensor([5, 1, 49_151, 2], dtype=torch.int32).to(dtype)
    corpus = ops.CorpusTensors(tokens, torch.tensor([0, 4]), torch.tensor([0, 1]))
    corpus.check_vocabulary(49_152)
    with pytest.raises(DataError, match=r"got token 49151 at place 2; wanted \[0, 49151\)"):
        corpus.check_vocabulary(49_151)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: streams_of(c, [[1.0, 1.0, 1.0]]), "domain 1, which has 0 rows"),
        (lambda c: streams_of(c, [[1.0, 0.0]]), "wanted"),
        (lambda c: streams_of(c, [[1.0, 0.0, 1.0]], caps=(1, 1)), "got 2 caps"),
        (lambda c: streams_of(c, [[1.0, 0.0, 1.0]], seed=-1), "wanted"),
        (lambda c: ops.mix_batch(streams_of(c, [[1.0, 0.0, 1.0]]), [0, 1], 2, 4), "got 2 starts"),
        (lambda c: ops.mix_batch(streams_of(c, [[1.0, 0.0, 1.0]]), [-1], 2, 4), "got starts"),
        (lambda c: ops.mix_batch(streams_of(c, [[1.0, 0.0, 1.0]]), [0], -2, 4), "got n=-2"),
        (lambda c: ops.mix_batch(streams_of(c, [[1.0, 0.0, 1.0]]), [0], 2, 0), "got length=0"),
        (
            lambda c: ops.mix_batch(
                streams_of(c, [[1.0, 0.0, 1.0]]), [0], 2, 4, pad=2**31, dtype=torch.int32
            ),
            "got pad=2147483648",
        ),
        (
            lambda c: ops.mix_batch(
                streams_of(c, [[1.0, 0.0, 1.0]]), [0], 2, 4, dtype=torch.float32
            ),
            "got ids of torch.float32",
        ),
        (lambda c: ops.mix_pack(streams_of(c, [[1.0, 0.0, 1.0]]), [0], 2, -1, 4), "got rows=-1"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    make: Callable[[ops.CorpusTensors], object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        make(corpus_of([[1, 2], [], [3]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: torch.zeros(10)}, "got tokens of"),
        ({0: torch.zeros(3, dtype=torch.int32)}, r"said to lie at tokens|document"),
        ({1: torch.tensor([0, 2**62, 10])}, "is said to lie at tokens"),
        ({1: torch.tensor([0, -4, -2])}, "is said to lie at tokens"),
        ({1: torch.zeros(0, dtype=torch.int64)}, "wanted"),
        ({2: torch.tensor([0, 1, 9])}, "domain 1 is said to hold documents"),
        ({2: torch.tensor([-5, 1, 2])}, "domain 0 is said to hold documents"),
        ({2: torch.tensor([0, 2])}, "got weights"),
        ({9: 0}, "got length=0"),
        ({9: 2**40}, "got length="),
        ({8: -1}, "got n=-1"),
        ({5: [0, 0]}, "starts"),
    ],
)
def test_the_native_operator_reads_nothing_outside(change: dict[int, object], message: str) -> None:
    """Past the public checks: a sentence, not a crash."""
    if "CPU" not in ops.native_backends():
        pytest.skip(f"no native CPU kernel: {ops.why_no_native}")
    weights = torch.tensor([[2**29, 2**29]])
    good = (*GOOD, weights, [1], [0], [], True, 8, 6, 0, True)
    args = [change.get(k, x) for k, x in enumerate(good)]
    with pytest.raises(RuntimeError, match=message):
        torch.ops.jobs_bench.mix_batch(*args)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.jobs_bench.mix_pack(*args[:9], 8, *args[9:])
