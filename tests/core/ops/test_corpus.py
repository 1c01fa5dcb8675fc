from __future__ import annotations

import itertools
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs_bench import ops
from jobs_bench.errors import DataError, JobsBenchError
from jobs_bench.ops import _token_corpus
from jobs_bench.ops._corpus_file import HEADER, Layout

DOCUMENTS = [[[1, 2, 3], [], [4]], [], [[5, 6], [7, 8, 9, 10, 11]]]


def fuzzed(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def weights_of(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([ops.freeze_weights(row) for row in rows])


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32])
def test_a_corpus_comes_back_as_it_was_written(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "corpus"
    ops.write_corpus(path, DOCUMENTS, dtype=dtype)
    corpus = ops.map_corpus(path)
    assert corpus.tokens.dtype == dtype
    assert corpus.tokens.tolist() == list(range(1, 12))
    assert corpus.offsets.tolist() == [0, 3, 3, 4, 6, 11]
    assert corpus.domains.tolist() == [0, 3, 3, 5]
    assert [p.name for p in tmp_path.iterdir()] == ["corpus"], "something was left behind"


def test_an_empty_corpus_is_a_corpus(tmp_path: Path) -> None:
    ops.write_corpus(tmp_path / "none", [])
    assert ops.map_corpus(tmp_path / "none").sizes.tolist() == []
    ops.write_corpus(tmp_path / "hollow", [[], [[]]])
    assert ops.map_corpus(tmp_path / "hollow").sizes.tolist() == [0, 1]


@given(
    st.lists(st.lists(st.lists(st.integers(0, 2**16 - 1), max_size=6), max_size=5), max_size=4),
    st.sampled_from([torch.uint16, torch.int32]),
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_corpus_comes_back(
    tmp_path: Path, domains: list[list[list[int]]], dtype: torch.dtype
) -> None:
    path = tmp_path / "corpus"
    ops.write_corpus(path, (iter(domain) for domain in domains), dtype=dtype)
    corpus = ops.map_corpus(path)
    back: list[list[list[int]]] = []
    for first, last in zip(corpus.domains[:-1].tolist(), corpus.domains[1:].tolist(), strict=True):
        marks = corpus.offsets[first : last + 1].tolist()
        parts = itertools.pairwise(marks)
        back.append([corpus.tokens[a:b].tolist() for a, b in parts])
    assert back == domains


def test_a_failed_write_leaves_the_old_corpus(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    ops.write_corpus(path, DOCUMENTS)
    before = path.read_bytes()

    def broken() -> Iterator[list[list[int]]]:
        yield [[1, 2]]
        raise OSError("the source went away")

    with pytest.raises(OSError, match="went away"):
        ops.write_corpus(path, broken())
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("document", "dtype", "message"),
    [
        ([70_000], torch.uint16, r"got ids 70000 .. 70000 in document 1; wanted \[0, 65535\]"),
        ([-1, 5], torch.int32, r"got ids -1 .. 5"),
        ([2**31], torch.int32, r"got ids 2147483648"),
        ([0.5], torch.int32, "wanted a row of whole numbers"),
        ([[1], [2]], torch.int32, "wanted a row of whole numbers"),
        ([1], torch.int64, "wanted torch.uint16 or torch.int32"),
    ],
)
def test_ids_that_do_not_fit_are_refused(
    tmp_path: Path, document: list[object], dtype: torch.dtype, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ops.write_corpus(tmp_path / "corpus", [[[1], document]], dtype=dtype)  # type: ignore[list-item]
    assert not list(tmp_path.iterdir())


def sealed(layout: Layout, tokens: bytes, index: bytes) -> bytes:
    """A file whose checksums are right, whatever it says."""
    good = Layout(
        layout.token_bytes, layout.tokens, layout.documents, layout.domains, zlib.crc32(index)
    )
    return good.pack() + tokens + index


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with b''"),
        (b"JBTOKEN", "begins with"),
        (b"PARQUET1" + bytes(200), "wanted b'JBTOKENS'"),
        (b"JBTOKENS" + bytes(20), "wanted a header of 64"),
        (b"JBTOKENS" + bytes(200), "got version 0"),
        (b"JBTOKENS" + struct.pack("<I", 1) + bytes(200), "the header's checksum"),
        (sealed(Layout(3, 0, 0, 0, 0), b"", bytes(16)), "got tokens of 3 bytes"),
        (sealed(Layout(4, 2, 0, 0, 0), b"", bytes(16)), "got 80 bytes; wanted 88"),
        (sealed(Layout(4, 2**62, 2**61, 7, 0), b"", bytes(16)), "got 80 bytes; wanted"),
        (sealed(Layout(2, 2**64 - 1, 2**64 - 1, 2**64 - 1, 0), b"", bytes(16)), "got 80 bytes"),
        (
            sealed(Layout(4, 2, 1, 1, 0), bytes(8), struct.pack("<4q", 0, 3, 0, 1)),
            r"offsets over 0 .. 3; wanted 0 .. 2",
        ),
        (
            sealed(Layout(4, 2, 2, 1, 0), bytes(8), struct.pack("<5q", 0, 2**60, 2, 0, 2)),
            "offsets fall",
        ),
        (
            sealed(Layout(4, 2, 1, 2, 0), bytes(8), struct.pack("<5q", 0, 2, 0, -9, 1)),
            "domains fall",
        ),
    ],
)
def test_files_that_lie_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ops.TokenCorpus(fuzzed(tmp_path / "corpus", content))


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_refused_or_still_safe(tmp_path: Path, data: st.DataObject) -> None:
    """Any cut is refused; any flipped bit outside of the tokens is too; nothing crashes."""
    path = tmp_path / "corpus"
    ops.write_corpus(path, DOCUMENTS)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(content) - 1))
        with pytest.raises(DataError):
            ops.TokenCorpus(fuzzed(path, bytes(content[:cut])))
        return
    at = data.draw(st.integers(0, 8 * len(content) - 1))
    content[at // 8] ^= 1 << at % 8
    fuzzed(path, bytes(content))
    if HEADER.size <= at // 8 < HEADER.size + 48:  # tokens and their padding: no sum covers them
        stream = ops.TokenCorpus(path).stream(weights_of([1, 0, 1]), [1], n=8, length=4)
        assert stream.batch(0).ids.shape == (1, 8, 4)
        return
    with pytest.raises(DataError):
        ops.TokenCorpus(path)


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_is_refused(tmp_path: Path, noise: bytes, magic: bool) -> None:
    content = (b"JBTOKENS\x01\x00\x00\x00" if magic else b"") + noise
    with pytest.raises(DataError):
        ops.TokenCorpus(fuzzed(tmp_path / "corpus", content))


@given(
    st.tuples(*[st.sampled_from([0, 1, 2, 3, 5, 2**31, 2**61, 2**63, 2**64 - 1])] * 3),
    st.sampled_from([2, 4]),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 6), min_size=2, max_size=9),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_forged_index_is_refused_or_sound(
    tmp_path: Path, counts: tuple[int, int, int], width: int, marks: list[int]
) -> None:
    """Checksums are right and the numbers are hostile."""
    index = struct.pack(f"<{len(marks)}q", *marks)
    layout = Layout(width, *counts, 0)
    tokens = bytes(min(layout.index - HEADER.size, 64))
    path = fuzzed(tmp_path / "corpus", sealed(layout, tokens, index))
    try:
        corpus = ops.map_corpus(path)
    except DataError:
        return
    assert corpus.offsets.tolist() == sorted(corpus.offsets.tolist())
    assert corpus.offsets[-1] == corpus.tokens.numel()
    assert corpus.domains[-1] == corpus.offsets.numel() - 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: cannot be read: No such file"):
        ops.TokenCorpus(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cannot be read"):
        ops.TokenCorpus(tmp_path)


def test_the_vocabulary_is_checked_on_opening(tmp_path: Path) -> None:
    ops.write_corpus(tmp_path / "corpus", DOCUMENTS)
    ops.TokenCorpus(tmp_path / "corpus", vocabulary=12)
    with pytest.raises(DataError, match=r"corpus: got token 10 at place 9; wanted \[0, 10\)"):
        ops.TokenCorpus(tmp_path / "corpus", vocabulary=10)


def test_writing_into_the_tensors_does_not_reach_the_file(tmp_path: Path) -> None:
    path = tmp_path / "corpus"
    ops.write_corpus(path, DOCUMENTS)
    before = path.read_bytes()
    ops.TokenCorpus(path).tensors.tokens.fill_(0)
    assert path.read_bytes() == before


@pytest.fixture
def corpus(tmp_path: Path) -> ops.TokenCorpus:
    rng = np.random.default_rng(5)
    sizes = (30, 1, 200, 60)
    lengths = [rng.integers(0, 70, size) for size in sizes]
    domains = [[rng.integers(0, 60_000, n) for n in domain] for domain in lengths]
    ops.write_corpus(tmp_path / "corpus", domains, dtype=torch.uint16)
    return ops.TokenCorpus(tmp_path / "corpus", vocabulary=60_000)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("stratified", [True, False])
def test_a_stream_has_the_bits_of_the_operators(
    corpus: ops.TokenCorpus, dtype: torch.dtype, stratified: bool
) -> None:
    weights = weights_of([0.3, 0, 0.5, 0.2], [1, 1, 1, 1], [0, 0, 0, 1])
    seeds, n, length = (3, 2**62, 0), 24, 48
    stream = corpus.stream(
        weights, seeds, n=n, length=length, pad=-1, dtype=dtype, stratified=stratified
    )
    streams = ops.MixStreams(corpus.tensors, weights, seeds, stratified)
    for step in (0, 1, 10**9, 5, 2**60 // n - 1):
        starts = [step * n] * 3
        padded = ops.mix_batch(streams, starts, n, length, pad=-1, dtype=dtype)
        got = stream.batch(step)
        for name in ("ids", "lengths", "domain", "document"):
            assert torch.equal(getattr(got, name), getattr(padded, name)), (step, name)
        for rows in (n, 9):
            packed = ops.mix_pack(
                streams, starts, n, rows, length, pad=-1, dtype=dtype, whole=False
            )
            out = stream.pack(step, rows, whole=False)
            for name in packed.__slots__:
                assert torch.equal(getattr(out, name), getattr(packed, name)), (step, rows, name)


def test_a_stream_writes_into_the_same_memory(corpus: ops.TokenCorpus) -> None:
    stream = corpus.stream(weights_of([1, 1, 1, 1]), [0], n=8, length=16)
    if not stream.native:
        pytest.skip("jobs_bench._host was not built")
    first = stream.batch(0).ids
    kept = first.clone()
    second = stream.batch(1).ids
    assert first.data_ptr() == second.data_ptr()
    assert not torch.equal(kept, second)
    assert torch.equal(stream.batch(0).ids, kept)


def test_without_the_compiled_module_the_operators_do_the_work(
    corpus: ops.TokenCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = (weights_of([0.3, 0.1, 0.4, 0.2]), [7])
    native = corpus.stream(*args, n=16, length=64)
    monkeypatch.setattr(_token_corpus, "_HOST", None)
    monkeypatch.setenv("JOBS_BENCH_REQUIRE_NATIVE", "cpu")
    with pytest.raises(JobsBenchError, match="_host was not built"):
        corpus.stream(*args, n=16, length=64)
    monkeypatch.delenv("JOBS_BENCH_REQUIRE_NATIVE")
    plain = corpus.stream(*args, n=16, length=64)
    assert not plain.native
    for step in (0, 10**9):
        assert torch.equal(plain.batch(step).ids, native.batch(step).ids)
        one, other = plain.pack(step, 16), native.pack(step, 16)
        assert torch.equal(one.ids, other.ids)
        assert torch.equal(one.segments, other.segments)
    for call in (lambda: plain.pack(0, 1), lambda: native.pack(0, 1)):
        with pytest.raises(DataError, match="find no room in 1 rows of 64 tokens"):
            call()


def test_streams_of_several_threads_do_not_meet(corpus: ops.TokenCorpus) -> None:
    weights = weights_of([0.3, 0.1, 0.4, 0.2])

    def stream() -> ops.CorpusStream:
        return corpus.stream(weights, [7], n=32, length=64)

    want = [stream().batch(step).ids.clone() for step in range(40)]
    wrong: list[int] = []

    def work() -> None:
        own = stream()
        wrong.extend(s for s in range(40) if not torch.equal(own.batch(s).ids, want[s]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_stream_ends_where_its_caps_say(corpus: ops.TokenCorpus) -> None:
    caps = ops.epoch_caps(corpus.tensors.sizes.tolist(), 1)
    stream = corpus.stream(weights_of([1, 1, 1, 1]), [0], n=97, length=8, caps=caps)
    seen = torch.cat([stream.batch(step).document[0].clone() for step in range(3)])
    assert sorted(seen.tolist()) == list(range(291))
    for call in (lambda: stream.batch(3), lambda: stream.pack(3, 97)):
        with pytest.raises(DataError, match="ends at position 291"):
            call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "wanted at least 1 document"),
        ({"length": 0}, "got length=0"),
        ({"dtype": torch.int16}, "got ids of torch.int16"),
        ({"pad": 2**40, "dtype": torch.int32}, "got pad="),
        ({"caps": [1, 2]}, "got 2 caps"),
        ({"seeds": [1, 2]}, "wanted|got"),
        ({"weights": torch.zeros(1, 4, dtype=torch.int64)}, "wanted 1073741824"),
        ({"weights": torch.full((1, 2), 2**29)}, "wanted"),
    ],
)
def test_streams_that_cannot_be_are_refused(
    corpus: ops.TokenCorpus, options: dict[str, object], message: str
) -> None:
    good: dict[str, object] = {
        "weights": weights_of([1, 1, 1, 1]),
        "seeds": [1],
        "n": 4,
        "length": 8,
    }
    with pytest.raises(DataError, match=message):
        corpus.stream(**good | options)  # type: ignore[arg-type]


def test_steps_that_cannot_be_are_refused(corpus: ops.TokenCorpus) -> None:
    stream = corpus.stream(weights_of([1, 1, 1, 1]), [1], n=4, length=80)
    for step in (-1, 2**58):
        with pytest.raises(DataError, match="got step"):
            stream.batch(step)
    with pytest.raises(DataError, match="got rows=-1"):
        stream.pack(0, -1)
    with pytest.raises(DataError, match="4 of 4 documents of stream 0 at position 8 find no room"):
        stream.pack(2, 0)


def test_the_compiled_stream_reads_nothing_outside() -> None:
    """Past the public checks: a sentence, not a crash."""
    host = pytest.importorskip("jobs_bench._host", reason="jobs_bench._host was not built")
    tokens = np.arange(10, dtype=np.int32)
    offsets, domains = np.array([0, 4, 10]), np.array([0, 1, 2])
    weights = np.array([[2**29, 2**29]])
    good: tuple[Any, ...] = (tokens, offsets, domains, weights, [1], [], True)
    bad = [
        (0, tokens.astype(np.float32), "got tokens of float32"),
        (0, tokens[::2], "wanted it contiguous"),
        (1, offsets.astype(np.int32), "got offsets of int32"),
        (1, offsets[:0], "wanted at least 1"),
        (2, np.array([0, 1, 9]), "wanted them in"),
        (2, np.array([0, 2]), "got weights"),
        (3, weights[0], "got weights"),
        (3, weights * 2, "got weight"),
        (4, [-1], "got seed -1"),
        (5, [1], "got 1 caps"),
    ]
    for at, value, message in bad:
        with pytest.raises(RuntimeError, match=message):
            host.CorpusStream(*(value if k == at else x for k, x in enumerate(good)))
    stream = host.CorpusStream(*good)
    ids, table = np.empty((1, 4, 3), dtype=np.int64), np.empty((3, 1, 4), dtype=np.int64)
    for args, message in (
        ((0, 0, ids[:, :3], table), "got ids"),
        ((0, 0, ids.astype(np.float64), table), "got ids of float64"),
        ((0, 0, ids, table[:2]), "got table"),
        ((0, 0, ids[:, :, ::2], table), "contiguous"),
        ((2**60, 0, ids, table), "got step"),
        ((-1, 0, ids, table), "got step"),
    ):
        with pytest.raises(RuntimeError, match=message):
            stream.batch(*args)
    ids.flags.writeable = False
    with pytest.raises(ValueError, match="writ"):
        stream.batch(0, 0, ids, table)
    offsets[1] = 2**40  # the corpus changes underneath
    ids.flags.writeable = True
    with pytest.raises(RuntimeError, match="said to lie at tokens"):
        stream.batch(0, 0, ids, table)


def test_corpora_over_four_gib(tmp_path: Path) -> None:
    """Documents on both sides of 2**32 tokens, in a file with holes."""
    tokens = 2**32 + 1000
    marks = [0, 8, 2**31 - 3, 2**31 + 5, 2**32 - 4, 2**32 + 4, tokens - 6, tokens]
    index = struct.pack("<8q2q", *marks, 0, 7)
    layout = Layout(2, tokens, 7, 1, zlib.crc32(index))
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(layout.size)
        file.write(layout.pack())
        for start, end in itertools.pairwise(marks):
            file.seek(HEADER.size + 2 * start)
            ids = np.arange(start, min(end, start + 8), dtype=np.uint64) % 65_521
            file.write(ids.astype("<u2").tobytes())
        file.seek(layout.index)
        file.write(index)
    corpus = ops.TokenCorpus(path)
    batch = corpus.stream(weights_of([1.0]), [3], n=7, length=8, pad=-1).batch(10**9)
    assert sorted(batch.document[0].tolist()) == list(range(7))
    for row, document, length in zip(
        batch.ids[0].tolist(), batch.document[0].tolist(), batch.lengths[0].tolist(), strict=True
    ):
        start, end = marks[document], marks[document + 1]
        want = [t % 65_521 for t in range(start, min(end, start + 8))]
        assert row[:length] == want
        assert row[length:] == [-1] * (8 - length)
    by_op = ops.mix_batch(
        ops.MixStreams(corpus.tensors, weights_of([1.0]), (3,)), [7 * 10**9], 7, 8, pad=-1
    )
    assert torch.equal(by_op.ids, batch.ids)
