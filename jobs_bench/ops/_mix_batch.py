"""Token batches of K mixtures over one corpus: a document a row, padded on the right.

Row b of a batch that starts at position p holds the document at position ``p + b`` of its stream
(`_mix`): a batch is a pure function of (seed, position, weights, corpus), for each stream apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops._backend import lib
from jobs_bench.ops._corpus import CorpusTensors
from jobs_bench.ops._mix import call, check_range, check_streams, draw
from jobs_bench.ops._mix_tree import I64

ID_TYPES = (torch.int64, torch.int32)


@dataclass(frozen=True, slots=True, eq=False)
class MixStreams:
    """K training streams over one corpus, looked at once.

    Attributes:
        corpus: Where the documents are.
        weights: ``(K, D)`` int64 on the CPU, rows from `freeze_weights`.
        seeds: K numbers of ``[0, 2**63)``.
        stratified: ``False``: iid with replacement.
        caps: How often each domain may be drawn (`epoch_caps`), or none; stratified only.

    Raises:
        DataError: Arguments that do not fit together; a weight on an empty domain.
    """

    corpus: CorpusTensors
    weights: Tensor
    seeds: tuple[int, ...]
    stratified: bool = True
    caps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.weights.device.type != "cpu":
            raise DataError(f"got weights on {self.weights.device}; wanted them on the cpu")
        zeros = [0] * len(self.seeds)
        sizes = self.corpus.sizes
        check_streams(self.weights, sizes, self.seeds, zeros, 0, self.stratified, self.caps)


@dataclass(frozen=True, slots=True, eq=False)
class MixBatch:
    """B rows of K streams.

    Attributes:
        ids: ``(K, B, L)`` int64 or int32.
        lengths: ``(K, B)`` int64: tokens before the padding.
        domain: ``(K, B)`` int64.
        document: ``(K, B)`` int64: index in the corpus.
    """

    ids: Tensor
    lengths: Tensor
    domain: Tensor
    document: Tensor


CORPUS = "Tensor tokens, Tensor offsets, Tensor domains"
STREAMS = "Tensor weights, int[] seeds, int[] starts, int[] caps, bool stratified"
lib.define(
    f"mix_batch({CORPUS}, {STREAMS}, int n, int length, int pad, bool wide) -> (Tensor, Tensor)"
)


def draw_documents(
    offsets: Tensor,
    domains: Tensor,
    weights: Tensor,
    seeds: Sequence[int],
    starts: Sequence[int],
    caps: Sequence[int],
    stratified: bool,
    n: int,
    length: int,
) -> I64:
    """Return the table ``(3, K, n)``: tokens that are kept, domain, document."""
    sizes = domains.diff()
    check_streams(weights, sizes, seeds, starts, n, stratified, caps)
    first, begins = domains.numpy(), offsets.cpu().numpy()
    table = np.empty((3, weights.shape[0], n), dtype=np.int64)
    for k, frozen in enumerate(weights.tolist()):
        domain, row = draw(frozen, sizes.tolist(), seeds[k], starts[k], n, stratified, caps)
        document = first[domain] + row
        kept = np.minimum(begins[document + 1] - begins[document], length)
        table[:, k] = kept, domain, document
    return table


def reference_mix_batch(
    tokens: Tensor,
    offsets: Tensor,
    domains: Tensor,
    weights: Tensor,
    seeds: Sequence[int],
    starts: Sequence[int],
    caps: Sequence[int],
    stratified: bool,
    n: int,
    length: int,
    pad: int,
    wide: bool,
) -> tuple[Tensor, Tensor]:
    """Return what the operator returns; the definition of right."""
    check_row(length, pad, wide)
    table = draw_documents(offsets, domains, weights, seeds, starts, caps, stratified, n, length)
    begins, flat = offsets.cpu().numpy(), tokens.cpu().numpy()
    ids = np.full((weights.shape[0], n, length), pad, dtype=np.int64 if wide else np.int32)
    for k, b in np.ndindex(weights.shape[0], n):
        kept, _, document = table[:, k, b]
        ids[k, b, :kept] = flat[begins[document] : begins[document] + kept]
    return torch.from_numpy(ids).to(tokens.device), torch.from_numpy(table).to(tokens.device)


lib.impl("mix_batch", reference_mix_batch, "CompositeExplicitAutograd")


@torch.library.register_fake("jobs_bench::mix_batch", lib=lib)
def _fake(
    tokens: Tensor,
    offsets: Tensor,
    domains: Tensor,
    weights: Tensor,
    seeds: Sequence[int],
    starts: Sequence[int],
    caps: Sequence[int],
    stratified: bool,
    n: int,
    length: int,
    pad: int,
    wide: bool,
) -> tuple[Tensor, Tensor]:
    del domains, seeds, starts, caps, stratified, pad
    streams = weights.shape[0]
    ids = tokens.new_empty((streams, n, length), dtype=torch.int64 if wide else torch.int32)
    return ids, offsets.new_empty((3, streams, n))


def check_row(length: int, pad: int, wide: bool) -> None:
    """Refuse rows that cannot be.

    Raises:
        DataError: A length outside of ``[1, 2**31)``; a pad that the ids cannot hold.
    """
    if not 1 <= length < 1 << 31:
        raise DataError(f"got length={length}; wanted [1, 2**31)")
    bits = 63 if wide else 31
    if not -(1 << bits) <= pad < 1 << bits:
        raise DataError(f"got pad={pad}; wanted a number of {bits + 1} bits")


def is_wide(dtype: torch.dtype) -> bool:
    """Return whether ids are int64.

    Raises:
        DataError: Neither int64 nor int32.
    """
    if dtype not in ID_TYPES:
        raise DataError(f"got ids of {dtype}; wanted torch.int64 or torch.int32")
    return dtype == torch.int64


def mix_batch(
    streams: MixStreams,
    starts: Sequence[int],
    n: int,
    length: int,
    *,
    pad: int = 0,
    dtype: torch.dtype = torch.int64,
) -> MixBatch:
    """Return the documents at n positions of K streams, one a row.

    Args:
        streams: The streams.
        starts: First position of each stream, ``[0, 2**60 - n]``: the step times n.
        n: Rows of each stream, at least 0.
        length: Tokens of a row, ``[1, 2**31)``; a longer document loses its end.
        pad: What follows a shorter one.
        dtype: Of the ids, ``torch.int64`` or ``torch.int32``.

    Raises:
        DataError: Arguments that do not fit together, or positions after the end of a stream.
    """
    if len(starts) != len(streams.seeds):
        raise DataError(f"got {len(starts)} starts for {len(streams.seeds)} streams")
    check_range(streams.seeds, starts, n)
    wide = is_wide(dtype)
    check_row(length, pad, wide)
    corpus = streams.corpus
    ids, table = call(
        torch.ops.jobs_bench.mix_batch.default,
        corpus.tokens,
        corpus.offsets,
        corpus.domains,
        streams.weights,
        streams.seeds,
        starts,
        streams.caps,
        streams.stratified,
        n,
        length,
        pad,
        wide,
    )
    return MixBatch(ids, *table.unbind())
