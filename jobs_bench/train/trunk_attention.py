"""Attention of rows to beginnings that they share, read where they lie and never copied a row.

A batch is a list of segments: consecutive rows on one trunk, or on none. The queries of a segment
meet the trunk's keys in one product, as in cascade attention (Ye et al. 2024) and Hydragen
(Juravsky et al. 2024); the scores of trunk and row go through one softmax, so that the result is
that of rows which hold all keys themselves, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

Past = Sequence[tuple[Tensor, Tensor]]
"""Keys and values ``(1, heads, P, head size)`` of a beginning, layer by layer."""

NAME: Final = "jobs_bench_trunk"
"""Under which the attention is known to `transformers`."""
PIECE: Final = 1 << 22
"""Scores that are computed at once: 16 MB in float32."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive rows of a batch.

    Attributes:
        trunk: Keys and values that all of them see before their own; ``None``: nothing.
        rows: How many rows, at least 1.
    """

    trunk: Past | None
    rows: int


_SEGMENTS: ContextVar[Sequence[Segment]] = ContextVar("segments")


@contextmanager
def trunk_attention(hf: Any, segments: Sequence[Segment]) -> Iterator[None]:
    """Let the layers of a model attend to `segments` for a while."""
    config = hf.config
    before = config._attn_implementation
    token = _SEGMENTS.set(segments)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _SEGMENTS.reset(token)


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Return what each position gets, by the signature that `transformers` calls.

    Args:
        module: One attention layer; its ``layer_idx`` finds the layer of the trunks.
        query: ``(B, H, T, D)``; `H` is a multiple of the keys' heads.
        key: ``(B, G, W, D)``, those of the rows alone.
        value: ``(B, G, W, E)``.
        attention_mask: ``(B or 1, 1, T, W)`` bool, true where a position sees a key of its row.
            With ``T = W > 1`` it is causal.
        scaling: Factor of the scores; ``None``: ``D ** -0.5``.

    Returns:
        ``(B, T, H, E)``, and no weights.
    """
    factor = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: Any = module.layer_idx
    out = query.new_empty((query.shape[0], query.shape[2], query.shape[1], value.shape[-1]))
    start = 0
    for segment in _SEGMENTS.get():
        mine = slice(start, start + segment.rows)
        mask = attention_mask[mine] if len(attention_mask) > 1 else attention_mask
        past = segment.trunk[layer] if segment.trunk is not None else None
        _segment(out[mine], query[mine], key[mine], value[mine], mask, past, factor)
        start += segment.rows
    return out, None


def _segment(
    out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    past: tuple[Tensor, Tensor] | None,
    factor: float,
) -> None:
    """Write the rows of one segment, a piece at a time."""
    n, heads, length, _ = query.shape
    if past is None and length > 1:
        free = nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=factor, enable_gqa=True
        )
        out.copy_(free.transpose(1, 2))
        return
    seen = key.shape[2] + (past[0].shape[2] if past is not None else 0)
    rows = max(PIECE // (heads * length * seen), 1)
    steps = max(PIECE // (heads * seen), 1) if rows == 1 else length
    for i in range(0, n, rows):
        at = slice(i, i + rows)
        here = mask[at] if len(mask) > 1 else mask
        for j in range(0, length, steps):
            to = slice(j, j + steps)
            some = query[at, :, to] * factor
            out[at, to] = _piece(some, key[at], value[at], here[:, :, to], past)


def _piece(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, past: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Return ``(n, T, H, E)``; queries are scaled already."""
    n, heads, length, size = query.shape
    groups, wide = key.shape[1], value.shape[-1]
    # the heads of a group and the positions are the rows of one product with its keys
    asked = query.reshape(n, groups, -1, size)
    own = (asked @ key.transpose(-1, -2)).view(n, groups, -1, length, key.shape[2])
    own.masked_fill_(~mask[:, :, None], torch.finfo(own.dtype).min)
    own = own.view(n, groups, -1, key.shape[2])
    if past is None:
        got = own.softmax(-1) @ value
    else:
        keys, values = past[0][0], past[1][0]
        far = asked.transpose(0, 1).reshape(groups, -1, size) @ keys.transpose(-1, -2)
        far = far.view(groups, n, -1, keys.shape[1]).transpose(0, 1)
        weights = torch.cat([far, own], -1).softmax(-1)
        near = weights[..., keys.shape[1] :] @ value
        flat = weights[..., : keys.shape[1]].transpose(0, 1).reshape(groups, -1, keys.shape[1])
        got = near + (flat @ values).view(groups, n, -1, wide).transpose(0, 1)
    return got.reshape(n, heads, length, wide).transpose(1, 2)


ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
