"""Which row of which domain stands at a position of a training stream.

The stream of a trial is a pure function of (seed, position, weights, sizes): no state, so that
resuming, packing, sharding and the device change nothing.

*Stratified* (the default): positions are split down a weight-balanced binary tree of domains with
integer rounding; after any number of positions a domain's count is within 1.5 of its target. The
row is the domain's count so far, sent through a permutation keyed by (seed, domain, epoch): every
row once before any row twice. *iid*: domain and row are drawn independently, with replacement.

All arithmetic after `freeze_weights` is on integers, hence the same on every device.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.ops._backend import lib
from jobs_bench.ops._philox import U64, philox, split

I64 = NDArray[np.int64]

WEIGHT_TOTAL = 1 << 30
"""Sum of frozen weights; positions up to 2**60 stay exact in 64-bit arithmetic."""

ROUNDS = 6
"""Feistel rounds of the row permutation."""

_STRATIFIED, _IID = 0, 1  # stream numbers in the Philox counter


def freeze_weights(weights: Sequence[float]) -> list[int]:
    """Return whole numbers proportional to `weights` that sum to `WEIGHT_TOTAL`.

    Largest remainders; a weight above 0 stays above 0, a weight of 0 stays 0.

    Raises:
        DataError: A weight that is negative or not finite, or none above 0.
    """
    w = np.asarray(weights, dtype=np.float64)
    if w.ndim != 1 or w.size == 0 or not np.isfinite(w).all() or (w < 0).any() or w.sum() <= 0:
        raise DataError(f"got mixture weights {list(weights)}; wanted finite, >= 0, not all 0")
    exact = w / w.sum() * WEIGHT_TOTAL
    frozen = np.floor(exact).astype(np.int64)
    frozen[(w > 0) & (frozen == 0)] = 1
    missing = WEIGHT_TOTAL - int(frozen.sum())
    if missing > 0:
        order = np.argsort(-(exact - np.floor(exact)), kind="stable")
        order = order[w[order] > 0]
        frozen[order[np.arange(missing) % order.size]] += 1
    elif missing < 0:
        frozen[int(np.argmax(frozen))] += missing
    return [int(x) for x in frozen]


@lru_cache(maxsize=256)
def build_tree(frozen: tuple[int, ...]) -> tuple[tuple[int, int, int, int], ...]:
    """Return the nodes ``(left weight, weight, left child, right child)`` of the splitting tree.

    The last node is the root; child ``c >= 0`` is a node, ``c < 0`` the domain ``-c - 1``. Domains
    of weight 0 are absent; a single domain gives no node. It is the Huffman tree of the weights
    (ties: the older node, domains in order): heavy domains split off near the root, so the rounding
    of a node shrinks on its way down. Measured worst deviation from the target: 1.30, against 1.62
    for a balanced tree over domains in their given order.
    """
    heap = [(w, d, -d - 1) for d, w in enumerate(frozen) if w > 0]
    heapq.heapify(heap)
    nodes: list[tuple[int, int, int, int]] = []
    while len(heap) > 1:
        light, _, b = heapq.heappop(heap)
        heavy, _, a = heapq.heappop(heap)
        heapq.heappush(heap, (heavy + light, len(frozen) + len(nodes), len(nodes)))
        nodes.append((heavy, heavy + light, a, b))
    return tuple(nodes)


def _root(frozen: Sequence[int], nodes: Sequence[object]) -> int:
    """Return the node to start from; with a single domain, that domain."""
    return len(nodes) - 1 if nodes else -next(d for d, w in enumerate(frozen) if w > 0) - 1


def _left(t: I64, left: int, total: int) -> I64:
    """Return ``round(t * left / total)``, how many of t positions go left; exact to 2**60."""
    whole, rest = np.divmod(t, total)
    out: I64 = whole * left + (rest * left + total // 2) // total
    return out


def stratified_domains(frozen: Sequence[int], positions: I64) -> tuple[I64, I64]:
    """Return ``(domain, count)`` at each position; `count` is how often the domain came before."""
    nodes = build_tree(tuple(frozen))
    domain = np.empty(positions.shape, dtype=np.int64)
    count = np.empty(positions.shape, dtype=np.int64)
    stack = [(_root(frozen, nodes), np.arange(positions.size), positions)]
    while stack:
        node, where, t = stack.pop()
        if node < 0:
            domain[where], count[where] = -node - 1, t
            continue
        left, total, a, b = nodes[node]
        before = _left(t, left, total)
        goes_left = _left(t + 1, left, total) > before
        stack.append((a, where[goes_left], before[goes_left]))
        stack.append((b, where[~goes_left], (t - before)[~goes_left]))
    return domain, count


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


def _check(weights: Tensor, sizes: Tensor, seeds: Sequence[int], starts: Sequence[int]) -> None:
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
    if any(not 0 <= s < 1 << 60 for s in starts) or any(not 0 <= s < 1 << 63 for s in seeds):
        raise DataError(f"got starts {starts}, seeds {seeds}; wanted [0, 2**60) and [0, 2**63)")
    if bool((weights < 0).any()) or bool((weights.sum(1) != WEIGHT_TOTAL).any()):
        raise DataError(f"got weights that sum to {weights.sum(1).tolist()}; wanted {WEIGHT_TOTAL}")
    empty = ((weights > 0) & (sizes <= 0)).nonzero()
    if empty.numel():
        k, d = empty[0].tolist()
        raise DataError(f"stream {k} draws from domain {d}, which has {int(sizes[d])} rows")


lib.define(
    "mix_indices(Tensor weights, Tensor sizes, int[] seeds, int[] starts, int n, bool stratified)"
    " -> (Tensor, Tensor)"
)


def reference_mix_indices(
    weights: Tensor,
    sizes: Tensor,
    seeds: Sequence[int],
    starts: Sequence[int],
    n: int,
    stratified: bool,
) -> tuple[Tensor, Tensor]:
    """Return what `mix_indices` returns; the definition of right."""
    _check(weights, sizes, seeds, starts)
    domains = np.empty((weights.shape[0], n), dtype=np.int64)
    rows = np.empty_like(domains)
    rows_of = [int(s) for s in sizes.tolist()]
    for k, frozen in enumerate(weights.tolist()):
        at = np.arange(n, dtype=np.int64) + starts[k]
        if not stratified:
            domains[k], rows[k] = _iid(frozen, rows_of, seeds[k], at)
            continue
        domains[k], count = stratified_domains(frozen, at)
        for d in np.unique(domains[k]).tolist():
            here = domains[k] == d
            rows[k, here] = permute(count[here], rows_of[d], seeds[k], d)
    device = weights.device
    return torch.from_numpy(domains).to(device), torch.from_numpy(rows).to(device)


lib.impl("mix_indices", reference_mix_indices, "CompositeExplicitAutograd")


@torch.library.register_fake("jobs_bench::mix_indices", lib=lib)
def _fake(
    weights: Tensor,
    sizes: Tensor,
    seeds: Sequence[int],
    starts: Sequence[int],
    n: int,
    stratified: bool,
) -> tuple[Tensor, Tensor]:
    del sizes, seeds, starts, stratified
    out = weights.new_empty((weights.shape[0], n))
    return out, torch.empty_like(out)


def mix_indices(
    weights: Tensor,
    sizes: Tensor,
    seeds: Sequence[int],
    starts: Sequence[int],
    n: int,
    *,
    stratified: bool = True,
) -> tuple[Tensor, Tensor]:
    """Return ``(domain, row)``, each ``(K, n)`` int64: n positions of K streams.

    Args:
        weights: ``(K, D)`` int64 from `freeze_weights`; a domain of weight 0 is never drawn.
        sizes: ``(D,)`` int64 rows of each domain, above 0 where any weight is.
        seeds: K numbers of ``[0, 2**63)``.
        starts: First position of each stream, ``[0, 2**60)``: the step times the rows a step.
        n: Positions, at least 0.
        stratified: See the module; ``False``: iid with replacement.

    Raises:
        DataError: Arguments that do not fit together.
    """
    _check(weights, sizes, seeds, starts)
    op = torch.ops.jobs_bench.mix_indices.default
    domain, row = op(weights, sizes, list(seeds), list(starts), n, stratified)
    return domain, row


def mix_counts(frozen: Sequence[int], positions: int) -> list[int]:
    """Return how often each domain stands in the first `positions` of a stratified stream.

    Args:
        frozen: ``D`` weights from `freeze_weights`.
        positions: ``[0, 2**60)``.
    """
    nodes = build_tree(tuple(frozen))
    counts = [0] * len(frozen)
    stack = [(_root(frozen, nodes), positions)]
    while stack:
        node, t = stack.pop()
        if node < 0:
            counts[-node - 1] = t
            continue
        left, total, a, b = nodes[node]
        gone = int(_left(np.asarray(t, dtype=np.int64), left, total))
        stack += [(a, gone), (b, t - gone)]
    return counts
