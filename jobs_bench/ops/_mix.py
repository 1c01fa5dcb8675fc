"""Which row of which domain stands at a position of a training stream.

The stream of a trial is a pure function of (seed, position, weights, sizes, caps): no state, so
that resuming, packing, sharding and the device change nothing.

*Stratified* (the default): positions are split down a tree of domains (`_mix_tree`); after any
number of positions a domain's count is within 1.5 of its target. The row is the domain's count so
far, sent through a permutation keyed by (seed, domain, epoch): every row once before any row
twice. *iid*: domain and row are drawn independently, with replacement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops._backend import lib
from jobs_bench.ops._mix_tree import (
    FOREVER,
    I64,
    WEIGHT_TOTAL,
    domain_counts,
    stratified_domains,
)
from jobs_bench.ops._philox import U64, philox, split

ROUNDS = 6
"""Feistel rounds of the row permutation."""

_STRATIFIED, _IID = 0, 1  # stream numbers in the Philox counter


def _word(value: int) -> U64:
    return np.asarray(value, dtype=np.uint64)


def _mix32(x: U64) -> U64:
    low = np.uint64(0xFFFFFFFF)
    x = (x ^ (x >> np.uint64(16))) * np.uint64(0x85EBCA6B) & low
    x = (x ^ (x >> np.uint64(13))) * np.uint64(0xC2B2AE35) & low
    return x ^ (x >> np.uint64(16))


def permute(count: I64, size: int, seed: int, domain: int) -> I64:
    """Return the row at each count: a fresh permutation of ``0..size-1`` for every epoch.

    A balanced Feistel network over the smallest even number of bits that holds `size`, walked along
    its cycle until it falls below `size`; its round keys are Philox words of (seed, domain, epoch).
    """
    bits = max(2, (size - 1).bit_length())
    half = np.uint64((bits + 1) // 2)
    mask = np.uint64((1 << int(half)) - 1)
    epoch, x = np.divmod(count, size)
    keys = _round_keys(epoch.astype(np.uint64), seed, domain)
    out = x.astype(np.uint64)
    todo = np.arange(out.size)
    while todo.size:
        v = out[todo]
        a, b = v >> half, v & mask
        for r in range(ROUNDS):
            a, b = b, a ^ (_mix32(b ^ keys[r][todo]) & mask)
        v = (a << half) | b
        out[todo] = v
        todo = todo[v >= np.uint64(size)]
    return out.astype(np.int64)


def _round_keys(epoch: U64, seed: int, domain: int) -> list[U64]:
    key = split(np.asarray(seed, dtype=np.uint64))
    low, high = split(epoch)
    words: list[U64] = []
    for block in range(2):
        words.extend(philox((low, high, _word(2 * domain + block), _word(_STRATIFIED)), key))
    return [np.broadcast_to(w, epoch.shape) for w in words]


def _iid(frozen: Sequence[int], sizes: Sequence[int], seed: int, at: I64) -> tuple[I64, I64]:
    key = split(np.asarray(seed, dtype=np.uint64))
    low, high = split(at.astype(np.uint64))
    w0, w1, w2, w3 = philox((low, high, _word(0), _word(_IID)), key)
    draw = (w0 | (w1 << np.uint64(32))) >> np.uint64(34)  # 30 bits, as many as WEIGHT_TOTAL has
    edges = np.cumsum(np.asarray(frozen, dtype=np.uint64))
    domain = np.searchsorted(edges, draw, side="right").astype(np.int64)
    size = np.asarray(sizes, dtype=np.uint64)[domain]
    # high half of the 64 x 64 bit product word * size, from 32-bit parts: Lemire's range reduction
    s0, s1 = split(size)
    cross = ((w2 * s0) >> np.uint64(32)) + w3 * s0
    upper = (cross & np.uint64(0xFFFFFFFF)) + w2 * s1
    row = (cross >> np.uint64(32)) + (upper >> np.uint64(32)) + w3 * s1
    return domain, row.astype(np.int64)


def check_weights(weights: Tensor, count: int, caps: Sequence[int]) -> None:
    """Refuse what is no weight matrix of `count` streams, or caps that do not fit it.

    Raises:
        DataError: Another type, shape or sum than wanted; a drawn domain with a cap of 0.
    """
    if weights.dtype != torch.int64 or weights.ndim != 2:
        raise DataError(
            f"got weights {tuple(weights.shape)} of {weights.dtype}; wanted (K, D) of torch.int64"
        )
    if count != weights.shape[0]:
        raise DataError(f"got {count} positions for {weights.shape[0]} streams")
    if bool((weights < 0).any()) or bool((weights.sum(1) != WEIGHT_TOTAL).any()):
        raise DataError(f"got weights that sum to {weights.sum(1).tolist()}; wanted {WEIGHT_TOTAL}")
    if not caps:
        return
    if len(caps) != weights.shape[1]:
        raise DataError(f"got {len(caps)} caps; wanted none or {weights.shape[1]}, one a domain")
    for d, cap in enumerate(caps):
        if cap <= 0 and bool((weights[:, d] > 0).any()):
            raise DataError(f"domain {d} has a weight and may be drawn {cap} times; wanted > 0")


def check_streams(
    weights: Tensor,
    sizes: Tensor,
    seeds: Sequence[int],
    starts: Sequence[int],
    n: int,
    stratified: bool,
    caps: Sequence[int],
) -> None:
    """Refuse arguments of K streams that do not fit together.

    Raises:
        DataError: What does not fit, with what was wanted.
    """
    if weights.dtype != torch.int64 or sizes.dtype != torch.int64:
        raise DataError(f"got dtypes {weights.dtype} and {sizes.dtype}; wanted torch.int64 twice")
    if weights.ndim != 2 or sizes.shape != weights.shape[1:]:
        raise DataError(
            f"got weights {tuple(weights.shape)}, sizes {tuple(sizes.shape)}; wanted (K, D), (D,)"
        )
    if len(seeds) != weights.shape[0] or len(starts) != weights.shape[0]:
        raise DataError(
            f"got {len(seeds)} seeds and {len(starts)} starts for {weights.shape[0]} streams"
        )
    check_range(seeds, starts, n)
    if caps and not stratified:
        raise DataError("got caps on iid draws; wanted them stratified")
    check_weights(weights, len(seeds), caps)
    empty = ((weights > 0) & (sizes <= 0)).nonzero()
    if empty.numel():
        k, d = empty[0].tolist()
        raise DataError(f"stream {k} draws from domain {d}, which has {int(sizes[d])} rows")


def check_range(seeds: Sequence[int], starts: Sequence[int], n: int) -> None:
    """Refuse seeds, positions and counts outside of their range.

    Raises:
        DataError: The same with both values.
    """
    if n < 0:
        raise DataError(f"got n={n}; wanted at least 0")
    if not starts:
        return
    if min(starts) < 0 or max(starts) > FOREVER - n or min(seeds) < 0 or max(seeds) >= 1 << 63:
        raise DataError(
            f"got starts {list(starts)}, seeds {list(seeds)} for n={n}; "
            "wanted [0, 2**60 - n] and [0, 2**63)"
        )


def draw(
    frozen: Sequence[int],
    sizes: Sequence[int],
    seed: int,
    start: int,
    n: int,
    stratified: bool,
    caps: Sequence[int],
) -> tuple[I64, I64]:
    """Return ``(domain, row)`` at n positions of one stream; the definition of right."""
    at = np.arange(n, dtype=np.int64) + start
    if not stratified:
        return _iid(frozen, sizes, seed, at)
    domain, count = stratified_domains(frozen, at, caps)
    row = np.empty_like(domain)
    for d in np.unique(domain).tolist():
        here = domain == d
        row[here] = permute(count[here], sizes[d], seed, d)
    return domain, row


def call(op: Callable[..., Any], *args: object) -> Any:
    """Return what a native operator or class returns.

    Raises:
        DataError: What the native operator refuses; the reference raises it by itself.
    """
    try:
        return op(*args)
    except RuntimeError as err:
        message = str(err)
        if not any(
            name in message for name in ("mix_", "CorpusStream")
        ):  # not one of our own sentences
            raise
        raise DataError(message) from err


lib.define(
    "mix_indices(Tensor weights, Tensor sizes, int[] seeds, int[] starts, int n, bool stratified,"
    " int[] caps=[]) -> (Tensor, Tensor)"
)
lib.define("mix_counts(Tensor weights, int[] positions, int[] caps=[]) -> Tensor")


def reference_mix_indices(
    weights: Tensor,
    sizes: Tensor,
    seeds: Sequence[int],
    starts: Sequence[int],
    n: int,
    stratified: bool,
    caps: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """Return what `mix_indices` returns; the definition of right."""
    check_streams(weights, sizes, seeds, starts, n, stratified, caps)
    domains = np.empty((weights.shape[0], n), dtype=np.int64)
    rows = np.empty_like(domains)
    rows_of = [int(s) for s in sizes.tolist()]
    for k, frozen in enumerate(weights.tolist()):
        domains[k], rows[k] = draw(frozen, rows_of, seeds[k], starts[k], n, stratified, caps)
    device = weights.device
    return torch.from_numpy(domains).to(device), torch.from_numpy(rows).to(device)


def reference_mix_counts(
    weights: Tensor, positions: Sequence[int], caps: Sequence[int] = ()
) -> Tensor:
    """Return what `mix_counts` returns; the definition of right."""
    check_weights(weights, len(positions), caps)
    counts = [
        domain_counts(frozen, at, caps)
        for frozen, at in zip(weights.tolist(), positions, strict=True)
    ]
    return torch.tensor(counts, dtype=torch.int64, device=weights.device).reshape(weights.shape)


lib.impl("mix_indices", reference_mix_indices, "CompositeExplicitAutograd")
lib.impl("mix_counts", reference_mix_counts, "CompositeExplicitAutograd")


@torch.library.register_fake("jobs_bench::mix_indices", lib=lib)
def _fake_indices(
    weights: Tensor,
    sizes: Tensor,
    seeds: Sequence[int],
    starts: Sequence[int],
    n: int,
    *_: object,
) -> tuple[Tensor, Tensor]:
    del sizes, seeds, starts
    out = weights.new_empty((weights.shape[0], n))
    return out, torch.empty_like(out)


@torch.library.register_fake("jobs_bench::mix_counts", lib=lib)
def _fake_counts(weights: Tensor, *_: object) -> Tensor:
    return torch.empty_like(weights)


def mix_indices(
    weights: Tensor,
    sizes: Tensor,
    seeds: Sequence[int],
    starts: Sequence[int],
    n: int,
    *,
    stratified: bool = True,
    caps: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """Return ``(domain, row)``, each ``(K, n)`` int64: n positions of K streams.

    Args:
        weights: ``(K, D)`` int64 from `freeze_weights`; a domain of weight 0 is never drawn.
        sizes: ``(D,)`` int64 rows of each domain, above 0 where any weight is.
        seeds: K numbers of ``[0, 2**63)``.
        starts: First position of each stream, ``[0, 2**60 - n]``: the step times the rows a step.
        n: Positions, at least 0.
        stratified: See the module; ``False``: iid with replacement.
        caps: How often each domain may be drawn (`epoch_caps`), or none; stratified only.

    Raises:
        DataError: Arguments that do not fit together, or positions after the end of a stream.
    """
    check_streams(weights, sizes, seeds, starts, n, stratified, caps)
    op = torch.ops.jobs_bench.mix_indices.default
    domain, row = call(op, weights, sizes, list(seeds), list(starts), n, stratified, list(caps))
    return domain, row


def mix_counts(weights: Tensor, positions: Sequence[int], *, caps: Sequence[int] = ()) -> Tensor:
    """Return ``(K, D)`` int64: how often each domain stands before a position of K streams.

    For stratified streams, at any position at the same cost: the realised mixture of a run.

    Args:
        weights: ``(K, D)`` int64 from `freeze_weights`.
        positions: K numbers of ``[0, 2**60]``: steps times the rows a step.
        caps: As `mix_indices` has them.

    Raises:
        DataError: Arguments that do not fit together, or positions after the end of a stream.
    """
    check_weights(weights, len(positions), caps)
    if any(not 0 <= p <= FOREVER for p in positions):
        raise DataError(f"got positions {list(positions)}; wanted [0, 2**60]")
    counts: Tensor = call(
        torch.ops.jobs_bench.mix_counts.default, weights, list(positions), list(caps)
    )
    return counts
