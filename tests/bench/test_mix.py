"""Mixture batches against what people use for them, all in one process, in turns.

``pytest tests/bench/test_mix.py --benchmark-only`` measures; each row's ``extra_info`` holds the
peer's time, the ratio and, where bytes are moved, the share of this machine's copying speed.
``python tests/bench/test_mix.py [FOLDER]`` measures all of it and writes one row of JSON each to
``FOLDER/mix.jsonl`` (default ``results/<machine>``). Every peer's batch is checked before it is
timed.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from jobs_bench import ops

DOMAINS, DOCUMENTS, MEAN = 8, 96_000, 277
ROWS, LENGTH = 32, 1024  # a padded step
PACKED, ROW, PACK_ROWS = 96, 4096, 8  # a packed step: documents, tokens of a row, rows
SHARES = np.random.default_rng(7).dirichlet([1.0] * DOMAINS)
SEED = 3


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    Attributes:
        ours: A call of ours.
        peer: The peer's call for as much.
        units: Batches or draws that a call of ours makes, and one of the peer's.
        moved: Bytes that a call of ours reads and writes, 0 where that says nothing.
    """

    ours: Callable[[], object]
    peer: Callable[[], object] | None
    units: tuple[int, int] = (1, 1)
    moved: int = 0


@cache
def tensors() -> ops.CorpusTensors:
    """96,000 documents of 277 tokens on average in eight domains."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(np.log(MEAN) - 0.32, 0.8, DOCUMENTS), 8, 4000).astype(np.int64)
    offsets = torch.from_numpy(np.concatenate([[0], lengths.cumsum()]))
    tokens = rng.integers(1, 49_152, int(offsets[-1]), dtype=np.int64).astype(np.uint16)
    starts = torch.linspace(0, DOCUMENTS, DOMAINS + 1, dtype=torch.float64).to(torch.int64)
    return ops.CorpusTensors(torch.from_numpy(tokens), offsets, starts)


@cache
def streams(count: int = 1) -> ops.MixStreams:
    weights = torch.tensor([ops.freeze_weights(SHARES.tolist())] * count)
    return ops.MixStreams(tensors(), weights, tuple(range(SEED, SEED + count)))


def steps() -> Callable[[], int]:
    """Return a counter: each call is another step, so that no batch is in the cache."""
    counter = itertools.count()
    return lambda: next(counter)


def documents_of(rng: np.random.Generator, count: int) -> np.ndarray:
    """The best numpy way to draw documents: both draws vectorised."""
    starts = tensors().domains.numpy()
    domain = rng.choice(DOMAINS, count, p=SHARES)
    sizes = starts[domain + 1] - starts[domain]
    out: np.ndarray = starts[domain] + (rng.random(count) * sizes).astype(np.int64)
    return out


def numpy_padded(documents: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Slices into a reused array of int64."""
    tokens, offsets = tensors().tokens.numpy(), tensors().offsets.numpy()
    begins, ends = offsets[documents].tolist(), offsets[documents + 1].tolist()
    ids.fill(0)
    for b in range(len(begins)):
        n = min(ends[b] - begins[b], LENGTH)
        ids[b, :n] = tokens[begins[b] : begins[b] + n]
    return ids


COUNT_UP = np.arange(ROW, dtype=np.int32)


def numpy_packed(
    documents: np.ndarray, ids: np.ndarray, position: np.ndarray, segment: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Next-fit by slices into reused arrays."""
    tokens, offsets = tensors().tokens.numpy(), tensors().offsets.numpy()
    begins, ends = offsets[documents].tolist(), offsets[documents + 1].tolist()
    for array in (ids, position, segment):
        array.fill(0)
    row = at = count = 0
    for begin, end in zip(begins, ends, strict=True):
        n = min(end - begin, ROW)
        if at + n > ROW:
            row, at, count = row + 1, 0, 0
            if row == len(ids):
                break
        count += 1
        ids[row, at : at + n] = tokens[begin : begin + n]
        position[row, at : at + n] = COUNT_UP[:n]
        segment[row, at : at + n] = count
        at += n
    return ids, position, segment


def hf_domains() -> list[Any]:
    """The corpus as Hugging Face data sets, one a domain."""
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    datasets.disable_progress_bars()
    c = tensors()
    tokens, offsets = c.tokens.numpy().astype(np.int32), c.offsets.numpy()
    out = []
    for d in range(DOMAINS):
        first, last = int(c.domains[d]), int(c.domains[d + 1])
        rows = [tokens[offsets[i] : offsets[i + 1]] for i in range(first, last)]
        out.append(datasets.Dataset.from_dict({"ids": rows, "document": list(range(first, last))}))
    return out


@cache
def hf_map_style() -> Any:
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    mixed = datasets.interleave_datasets(
        hf_domains(), probabilities=SHARES.tolist(), seed=SEED, stopping_strategy="all_exhausted"
    )
    return mixed.with_format("numpy")


@cache
def hf_iterable() -> Iterator[dict[str, Any]]:
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    parts = [d.to_iterable_dataset() for d in hf_domains()]
    mixed = datasets.interleave_datasets(
        parts, probabilities=SHARES.tolist(), seed=SEED, stopping_strategy="all_exhausted"
    )
    return iter(mixed)


def hf_padded(step: int) -> tuple[np.ndarray, np.ndarray]:
    data = hf_map_style()
    start = step * ROWS % (len(data) - ROWS)
    rows = data[start : start + ROWS]
    ids = np.zeros((ROWS, LENGTH), dtype=np.int64)
    for b, row in enumerate(rows["ids"]):
        n = min(len(row), LENGTH)
        ids[b, :n] = row[:n]
    return ids, np.asarray(rows["document"])


def python_packed() -> tuple[list[list[int]], list[list[int]], list[list[int]], list[int]]:
    """A step of the iterable data set packed as collators do it, over Python lists."""
    rows: list[list[int]] = [[]]
    positions: list[list[int]] = [[]]
    segments: list[list[int]] = [[]]
    taken = []
    for item in itertools.islice(hf_iterable(), PACKED):
        ids = item["ids"][:ROW]
        taken.append(item["document"])
        if len(rows[-1]) + len(ids) > ROW:
            rows.append([])
            positions.append([])
            segments.append([])
        count = segments[-1][-1] + 1 if segments[-1] else 1
        rows[-1] += ids
        positions[-1] += range(len(ids))
        segments[-1] += [count] * len(ids)
    for part in (rows, positions, segments):
        for row in part:
            row += [0] * (ROW - len(row))
    return rows, positions, segments, taken


def check_numpy() -> None:
    """The numpy loops give what the operators give for the same documents."""
    padded = ops.mix_batch(streams(), [0], ROWS, LENGTH)
    ids = np.empty((ROWS, LENGTH), dtype=np.int64)
    assert (numpy_padded(padded.document[0].numpy(), ids) == padded.ids[0].numpy()).all()
    packed = ops.mix_pack(streams(), [0], PACKED, PACK_ROWS, ROW, whole=False)
    out = (np.empty((PACK_ROWS, ROW), dtype=np.int64),)
    more = tuple(np.empty((PACK_ROWS, ROW), dtype=np.int32) for _ in range(2))
    got = numpy_packed(packed.document[0].numpy(), *out, *more)
    want = (packed.ids, packed.positions, packed.segments)
    assert all((a == b[0].numpy()).all() for a, b in zip(got, want, strict=True))


def check_hf() -> None:
    """The data sets hold the corpus, and the mixture that was asked for."""
    c = tensors()
    ids, documents = hf_padded(1)
    want = numpy_padded(documents, np.empty((ROWS, LENGTH), dtype=np.int64))
    assert (ids == want).all()
    rows, _, segments, taken = python_packed()
    starts, ends = c.offsets[taken].tolist(), c.offsets[np.asarray(taken) + 1].tolist()
    flat = [
        t
        for row, seg in zip(rows, segments, strict=True)
        for t, s in zip(row, seg, strict=True)
        if s
    ]
    assert flat == [
        t for a, b in zip(starts, ends, strict=True) for t in c.tokens[a:b].tolist()[:ROW]
    ]


def padded_bytes(id_bytes: int) -> int:
    batch = ops.mix_batch(streams(), [0], ROWS, LENGTH)
    return ROWS * LENGTH * id_bytes + 2 * int(batch.lengths.sum())


def packed_bytes(id_bytes: int) -> int:
    packed = ops.mix_pack(streams(), [0], PACKED, PACK_ROWS, ROW, whole=False)
    return PACK_ROWS * ROW * (id_bytes + 8) + 2 * int(packed.lengths.sum())


@cache
def file_stream(n: int, length: int) -> ops.CorpusStream:
    c = tensors()
    offsets = c.offsets.tolist()
    numpy_tokens = c.tokens.numpy()
    domains = [
        [numpy_tokens[offsets[i] : offsets[i + 1]] for i in range(int(a), int(b))]
        for a, b in itertools.pairwise(c.domains.tolist())
    ]
    with tempfile.TemporaryDirectory() as folder:  # what is mapped outlives its name
        ops.write_corpus(Path(folder) / "corpus", domains, dtype=torch.uint16)
        corpus = ops.TokenCorpus(Path(folder) / "corpus")
    stream = corpus.stream(streams().weights, [SEED], n=n, length=length)
    assert stream.native
    return stream


def numpy_peer(packed: bool) -> Callable[[], object]:
    rng = np.random.default_rng(1)
    if not packed:
        ids = np.empty((ROWS, LENGTH), dtype=np.int64)
        return lambda: numpy_padded(documents_of(rng, ROWS), ids)
    wide = np.empty((PACK_ROWS, ROW), dtype=np.int64)
    two = [np.empty((PACK_ROWS, ROW), dtype=np.int32) for _ in range(2)]
    return lambda: numpy_packed(documents_of(rng, PACKED), wide, *two)


def padded_op() -> Callable[[], object]:
    step = steps()
    return lambda: ops.mix_batch(streams(), [step() * ROWS], ROWS, LENGTH)


def padded_file() -> Callable[[], object]:
    step, stream = steps(), file_stream(ROWS, LENGTH)
    return lambda: stream.batch(step())


def packed_op() -> Callable[[], object]:
    step = steps()
    return lambda: ops.mix_pack(streams(), [step() * PACKED], PACKED, PACK_ROWS, ROW, whole=False)


def packed_file() -> Callable[[], object]:
    step, stream = steps(), file_stream(PACKED, ROW)
    return lambda: stream.pack(step(), PACK_ROWS, whole=False)


def hf_peer() -> Callable[[], object]:
    hf_map_style()
    step = steps()
    return lambda: hf_padded(step())


def many_trials() -> Callable[[], object]:
    step, many = steps(), streams(16)
    return lambda: ops.mix_batch(many, [step() * ROWS] * 16, ROWS, LENGTH)


def indices(domains: int, stratified: bool) -> tuple[Callable[[], object], Callable[[], object]]:
    shares = np.random.default_rng(domains).dirichlet([1.0] * domains)
    weights = torch.tensor([ops.freeze_weights(shares.tolist())])
    sizes = torch.full((domains,), DOCUMENTS // domains)
    rng, step = np.random.default_rng(1), steps()
    count = 100_000

    def peer() -> np.ndarray:
        domain = rng.choice(domains, count, p=shares)
        out: np.ndarray = (rng.random(count) * sizes.numpy()[domain]).astype(np.int64)
        return out

    return (
        lambda: ops.mix_indices(
            weights, sizes, [SEED], [step() * count], count, stratified=stratified
        ),
        peer,
    )


def many_packed() -> Callable[[], object]:
    step, many = steps(), streams(16)
    return lambda: ops.mix_pack(many, [step() * PACKED] * 16, PACKED, PACK_ROWS, ROW, whole=False)


def index_case(domains: int, stratified: bool) -> Case:
    """A draw; numpy's are with replacement and start from the beginning."""
    return Case(*indices(domains, stratified), units=(100_000, 100_000))


def set_up_and_resume() -> object:
    """A new trial's first batch at step 10**9: freeze, check, build, draw, fill."""
    shares = np.random.default_rng(time.perf_counter_ns()).dirichlet([1.0] * DOMAINS)
    weights = torch.tensor([ops.freeze_weights(shares.tolist())])
    trial = ops.MixStreams(tensors(), weights, (SEED,))
    return ops.mix_batch(trial, [10**9 * ROWS], ROWS, LENGTH)


CASES: dict[str, Callable[[], Case]] = {
    "padded, operator / numpy loop": lambda: Case(
        padded_op(), numpy_peer(False), moved=padded_bytes(8)
    ),
    "padded, corpus file / numpy loop": lambda: Case(
        padded_file(), numpy_peer(False), moved=padded_bytes(8)
    ),
    "padded, operator / HF interleave": lambda: Case(padded_op(), hf_peer()),
    "padded, corpus file / HF interleave": lambda: Case(padded_file(), hf_peer()),
    "packed, operator / numpy slices": lambda: Case(
        packed_op(), numpy_peer(True), moved=packed_bytes(8)
    ),
    "packed, corpus file / numpy slices": lambda: Case(
        packed_file(), numpy_peer(True), moved=packed_bytes(8)
    ),
    "packed, operator / HF iterable and lists": lambda: Case(packed_op(), python_packed),
    "packed, corpus file / HF iterable and lists": lambda: Case(packed_file(), python_packed),
    "padded, operator, 16 trials in a call / numpy loop": lambda: Case(
        many_trials(), numpy_peer(False), (16, 1), 16 * padded_bytes(8)
    ),
    "packed, operator, 16 trials in a call / numpy slices": lambda: Case(
        many_packed(), numpy_peer(True), (16, 1), 16 * packed_bytes(8)
    ),
    "16 trials in a call / 16 calls of one": lambda: Case(many_trials(), padded_op(), (16, 1)),
    "set-up and resume at step 10^9": lambda: Case(set_up_and_resume, None),
}
for _domains in (4, 8, 32, 128):
    for _kind in ("stratified", "iid"):
        CASES[f"indices, {_kind}, {_domains} domains / numpy"] = partial(
            index_case, _domains, _kind == "stratified"
        )


def timed(call: Callable[[], object], times: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def copy_speed() -> float:
    """Bytes a second that one thread reads and writes when it copies 64 MiB."""
    source, target = (
        torch.zeros(1 << 23, dtype=torch.int64),
        torch.empty(1 << 23, dtype=torch.int64),
    )
    best = min(timed(lambda: target.copy_(source)) for _ in range(5))
    return 2 * 8 * (1 << 23) / best


def measure(case: Case, rounds: int) -> dict[str, float]:
    """Time both sides in turns; seconds a unit, best and median."""
    sides = [case.ours] if case.peer is None else [case.ours, case.peer]
    for side in sides:
        side()
    # a turn is as many calls as 5 ms hold, so that no side measures what the other left in caches
    times = [max(1, int(0.005 / min(timed(side) for _ in range(3)))) for side in sides]
    seconds = np.array(
        [[timed(side, n) for side, n in zip(sides, times, strict=True)] for _ in range(rounds)]
    )
    seconds /= np.array(case.units[: len(sides)])
    out = {"best_s": float(seconds[:, 0].min()), "median_s": float(np.median(seconds[:, 0]))}
    if case.peer is not None:
        out["peer_best_s"] = float(seconds[:, 1].min())
        out["peer_median_s"] = float(np.median(seconds[:, 1]))
        out["ratio"] = out["peer_median_s"] / out["median_s"]
        out["ratio_of_bests"] = out["peer_best_s"] / out["best_s"]
    if case.moved:
        speed = case.moved / (out["median_s"] * case.units[0])
        out["gb_s"], out["share_of_copy"] = speed / 1e9, speed / copy_speed()
    return out


@pytest.mark.parametrize("name", CASES)
def test_mix(benchmark: BenchmarkFixture, name: str) -> None:
    ops.require_native()
    check_numpy()
    if "HF" in name:
        check_hf()
    case = CASES[name]()
    benchmark.extra_info.update(measure(case, rounds=15))
    benchmark(case.ours)


def main(folder: Path) -> None:
    """Measure every case and append it to ``mix.jsonl``."""
    ops.require_native()
    torch.set_num_threads(1)
    check_numpy()
    has_hf = importlib.util.find_spec("datasets") is not None
    if has_hf:
        check_hf()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "mix.jsonl").open("a", encoding="utf-8") as file:
        for name, make in CASES.items():
            if "HF" in name and not has_hf:
                sys.stderr.write(f"left out: {name} (datasets is not installed)\n")
                continue
            row: dict[str, object] = {"schema": 1, "case": name, **measure(make(), rounds=31)}
            row |= {"threads": 1, "torch": torch.__version__, **ops.backend_record()}
            file.write(json.dumps(row) + "\n")
            file.flush()
            numbers = {k: f"{v:.4g}" for k, v in row.items() if isinstance(v, float)}
            sys.stdout.write(f"{name}: {numbers}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("results") / platform.node())
