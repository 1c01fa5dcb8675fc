"""The CUDA kernels of the mixture operators give the bits of the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jobs_bench import ops
from jobs_bench.ops._mix import reference_mix_counts, reference_mix_indices
from jobs_bench.ops._mix_batch import reference_mix_batch
from jobs_bench.ops._mix_pack import reference_mix_pack

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        not torch.cuda.is_available() or "CUDA" not in ops.native_backends(),
        reason="no CUDA device, or no CUDA build",
    ),
]

SIZES = [11, 300, 5, 64, 2**33 + 17]
WEIGHTS: list[list[float]] = [[0.5, 0.2, 0.0, 0.3, 0.1], [1e-6, 3, 5, 0.1, 0], [0, 0, 0, 1, 0]]


def frozen() -> torch.Tensor:
    return torch.tensor([ops.freeze_weights(w) for w in WEIGHTS])


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize("n", [0, 1, 255, 70_001])
def test_draws(n: int, stratified: bool) -> None:
    seeds, starts = [3, 2**62, 0], [0, 10**9, 2**59]
    args = (seeds, starts, n)
    weights, sizes = frozen(), torch.tensor(SIZES)
    got = ops.mix_indices(weights.cuda(), sizes.cuda(), *args, stratified=stratified)
    want = reference_mix_indices(weights, sizes, *args, stratified)
    assert got[0].is_cuda
    assert torch.equal(got[0].cpu(), want[0])
    assert torch.equal(got[1].cpu(), want[1])


def test_draws_across_phases_and_counts() -> None:
    sizes = torch.tensor(SIZES[:4])
    weights = torch.tensor([ops.freeze_weights(w[:4]) for w in WEIGHTS])
    caps = [22, 300, 5, 100]
    args = ([1, 2, 3], [0, 0, 0], 100)
    got = ops.mix_indices(weights.cuda(), sizes.cuda(), *args, caps=caps)
    want = reference_mix_indices(weights, sizes, *args, True, caps)
    assert torch.equal(got[0].cpu(), want[0])
    assert torch.equal(got[1].cpu(), want[1])
    counts = ops.mix_counts(weights.cuda(), [100] * 3, caps=caps)
    assert torch.equal(counts.cpu(), reference_mix_counts(weights, [100] * 3, caps))


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize(
    ("n", "rows", "length"), [(0, 0, 4), (33, 7, 300), (200, 64, 1), (70, 70, 5000)]
)
def test_batches(narrow: bool, wide: bool, n: int, rows: int, length: int) -> None:
    rng = np.random.default_rng(n)
    lengths = rng.integers(0, 900, sum(SIZES[:4]))
    offsets = torch.from_numpy(np.concatenate([[0], lengths.cumsum()]))
    domains = torch.from_numpy(np.concatenate([[0], np.cumsum(SIZES[:4])]))
    tokens = torch.from_numpy(rng.integers(0, 2**15, int(offsets[-1])).astype(np.int32))
    tokens = tokens.to(torch.uint16) if narrow else tokens
    weights = torch.tensor([ops.freeze_weights(w[:4]) for w in WEIGHTS])
    corpus = ops.CorpusTensors(tokens.cuda(), offsets.cuda(), domains)
    streams = ops.MixStreams(corpus, weights, (1, 2, 3))
    starts = [0, 10**9, 2**58]
    head = (tokens, offsets, domains, weights, (1, 2, 3), starts, (), True)
    dtype = torch.int64 if wide else torch.int32
    padded = ops.mix_batch(streams, starts, n, length, pad=-9, dtype=dtype)
    want = reference_mix_batch(*head, n, length, -9, wide)
    assert torch.equal(padded.ids.cpu(), want[0])
    table = torch.stack([padded.lengths, padded.domain, padded.document])
    assert torch.equal(table.cpu(), want[1])
    packed = ops.mix_pack(streams, starts, n, rows, length, pad=-9, dtype=dtype, whole=False)
    ids, layout, documents, numbers = reference_mix_pack(*head, n, rows, length, -9, wide)
    assert torch.equal(packed.ids.cpu(), ids)
    assert torch.equal(torch.stack([packed.positions, packed.segments]).cpu(), layout)
    assert torch.equal(packed.documents.cpu(), documents)
    assert torch.equal(torch.stack([packed.lengths, packed.domain, packed.document]).cpu(), numbers)


def test_another_stream_is_waited_for_by_nobody() -> None:
    """Work goes to the current stream: a batch made on a side stream is right after its sync."""
    weights, sizes = frozen().cuda(), torch.tensor(SIZES).cuda()
    want = ops.mix_indices(weights, sizes, [1, 2, 3], [5, 6, 7], 4096)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        got = ops.mix_indices(weights, sizes, [1, 2, 3], [5, 6, 7], 4096)
    side.synchronize()
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])
