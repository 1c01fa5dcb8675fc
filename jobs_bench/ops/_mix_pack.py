"""Packed batches of K mixtures over one corpus: whole documents, several a row.

A packed step owns the same positions of its stream as a padded one: a batch of n documents that
starts at position p holds the documents at ``p .. p + n - 1``, in that order, each cut at the row's
length, by *next-fit*: a document that does not fit behind the last one opens the next row. So
packing changes no step: the same documents, hence the same realised mixture at every step
(`mix_counts`: within 1.5 of the target), whatever the rows' length. Nothing is split or reordered.

A stream is given a fixed number of rows. Rows as many as documents always suffice; with fewer, the
documents from the first that finds no room on are *left out*, and `mix_pack` refuses that unless it
is told to go on. They would come again in the next epoch, at another place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops._backend import lib
from jobs_bench.ops._mix import call, check_range
from jobs_bench.ops._mix_batch import (
    CORPUS,
    STREAMS,
    MixStreams,
    check_row,
    draw_documents,
    is_wide,
)
from jobs_bench.ops._mix_tree import I64


@dataclass(frozen=True, slots=True, eq=False)
class MixPack:
    """R rows of n documents of K streams.

    Attributes:
        ids: ``(K, R, L)`` int64 or int32.
        positions: ``(K, R, L)`` int32: from 0 in each document, 0 in the padding.
        segments: ``(K, R, L)`` int32: which document of the row, from 1; 0 in the padding.
        documents: ``(K, R)`` int32: documents of each row, in order of the table below.
        lengths: ``(K, n)`` int64: tokens that are kept of each document, left out or not.
        domain: ``(K, n)`` int64.
        document: ``(K, n)`` int64: index in the corpus.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor
    documents: Tensor
    lengths: Tensor
    domain: Tensor
    document: Tensor

    @property
    def left_out(self) -> Tensor:
        """``(K,)`` int64: documents of each stream, its last ones, that found no room."""
        return self.document.shape[1] - self.documents.sum(-1)


lib.define(
    f"mix_pack({CORPUS}, {STREAMS}, int n, int rows, int length, int pad, bool wide)"
    " -> (Tensor, Tensor, Tensor, Tensor)"
)


def next_fit(lengths: I64, rows: int, capacity: int) -> list[int]:
    """Return the row of each document that finds room: those after the first that does not, none.

    Args:
        lengths: ``(n,)`` tokens, at most `capacity` each.
        rows: Rows there are.
        capacity: Tokens of a row.
    """
    placed: list[int] = []
    row = filled = 0
    for length in lengths.tolist():
        if filled + length > capacity:
            row, filled = row + 1, 0
        if row >= rows:
            break
        filled += length
        placed.append(row)
    return placed


def reference_mix_pack(
    tokens: Tensor,
    offsets: Tensor,
    domains: Tensor,
    weights: Tensor,
    seeds: Sequence[int],
    starts: Sequence[int],
    caps: Sequence[int],
    stratified: bool,
    n: int,
    rows: int,
    length: int,
    pad: int,
    wide: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what the operator returns; the definition of right."""
    check_row(length, pad, wide)
    check_rows(rows)
    table = draw_documents(offsets, domains, weights, seeds, starts, caps, stratified, n, length)
    begins, flat = offsets.cpu().numpy(), tokens.cpu().numpy()
    shape = (weights.shape[0], rows, length)
    ids = np.full(shape, pad, dtype=np.int64 if wide else np.int32)
    layout = np.zeros((2, *shape), dtype=np.int32)
    documents = np.zeros(shape[:2], dtype=np.int32)
    for k in range(weights.shape[0]):
        filled = [0] * rows
        for i, row in enumerate(next_fit(table[0, k], rows, length)):
            kept, _, document = table[:, k, i].tolist()
            here = slice(filled[row], filled[row] + kept)
            filled[row] += kept
            documents[k, row] += 1
            ids[k, row, here] = flat[begins[document] : begins[document] + kept]
            layout[0, k, row, here] = np.arange(kept)
            layout[1, k, row, here] = documents[k, row]
    out = tuple(torch.from_numpy(a).to(tokens.device) for a in (ids, layout, documents, table))
    return out[0], out[1], out[2], out[3]


lib.impl("mix_pack", reference_mix_pack, "CompositeExplicitAutograd")


@torch.library.register_fake("jobs_bench::mix_pack", lib=lib)
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
    rows: int,
    length: int,
    pad: int,
    wide: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    del domains, seeds, starts, caps, stratified, pad
    shape = (weights.shape[0], rows, length)
    return (
        tokens.new_empty(shape, dtype=torch.int64 if wide else torch.int32),
        tokens.new_empty((2, *shape), dtype=torch.int32),
        tokens.new_empty(shape[:2], dtype=torch.int32),
        offsets.new_empty((3, weights.shape[0], n)),
    )


def check_rows(rows: int) -> None:
    """Refuse a negative number of rows.

    Raises:
        DataError: The same.
    """
    if rows < 0:
        raise DataError(f"got rows={rows}; wanted at least 0")


def refuse_left_out(pack: MixPack, placed: int, starts: Sequence[int]) -> None:
    """Refuse a step of which fewer documents found room than there are.

    Raises:
        DataError: The same, with the first stream that lacks any.
    """
    if placed == pack.document.numel():
        return
    n, (rows, length) = pack.document.shape[1], pack.ids.shape[1:]
    left_out = pack.left_out.tolist()
    k = next(k for k, count in enumerate(left_out) if count)
    raise DataError(
        f"{left_out[k]} of {n} documents of stream {k} at position {starts[k]} find no room in "
        f"{rows} rows of {length} tokens; wanted more rows, or whole=False"
    )


def mix_pack(
    streams: MixStreams,
    starts: Sequence[int],
    n: int,
    rows: int,
    length: int,
    *,
    pad: int = 0,
    dtype: torch.dtype = torch.int64,
    whole: bool = True,
) -> MixPack:
    """Return the documents at n positions of K streams, packed into rows.

    Args:
        streams: The streams.
        starts: First position of each stream, ``[0, 2**60 - n]``: the step times n.
        n: Documents of each stream, at least 0.
        rows: Rows of each stream, at least 0; n always suffice.
        length: Tokens of a row, ``[1, 2**31)``; a longer document loses its end.
        pad: What fills up the rows.
        dtype: Of the ids, ``torch.int64`` or ``torch.int32``.
        whole: Refuse documents that find no room, which on a CUDA device waits for the batch;
            ``False``: they are `MixPack.left_out`.

    Raises:
        DataError: Arguments that do not fit together, positions after the end of a stream, or
            documents left out.
    """
    if len(starts) != len(streams.seeds):
        raise DataError(f"got {len(starts)} starts for {len(streams.seeds)} streams")
    check_range(streams.seeds, starts, n)
    wide = is_wide(dtype)
    check_row(length, pad, wide)
    check_rows(rows)
    corpus = streams.corpus
    ids, layout, documents, table = call(
        torch.ops.jobs_bench.mix_pack.default,
        corpus.tokens,
        corpus.offsets,
        corpus.domains,
        streams.weights,
        streams.seeds,
        starts,
        streams.caps,
        streams.stratified,
        n,
        rows,
        length,
        pad,
        wide,
    )
    position, segment = layout.unbind()
    pack = MixPack(ids, position, segment, documents, *table.unbind())
    if whole:
        refuse_left_out(pack, int(documents.sum()), starts)
    return pack
