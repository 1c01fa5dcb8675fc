"""Rows that are read on, token by token: they stand on shared trunks, and leave and join a batch.

Each row keeps its keys and values from column 0 of a buffer that has room for all it may become, so
that a step writes in place, wherever the row stands. Columns beyond a row's end are not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from jobs_bench.train.trunk_attention import Past, Segment, trunk_attention


@dataclass(frozen=True, slots=True)
class Joining:
    """A row that joins a batch.

    Attributes:
        trunk: What it stands on; rows on the same object, side by side, read it together.
        ids: Tokens to read before the first step; may be empty.
    """

    trunk: Past | None
    ids: Sequence[int]


class _Room(DynamicLayer):
    """Keys and values of one layer, ``(B, heads, width, size)``, written in place.

    Attributes:
        store: Both buffers; empty until something is written.
        at: Column ``(B,)`` that the next step writes in each row.
        used: Columns that it returns.
    """

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self._shape = (rows, width)
        self.store: tuple[Tensor, ...] = ()
        self.at = torch.empty(0)
        self.used = 0

    def take(self, first: int, states: Sequence[Tensor]) -> None:
        """Write the first columns of the rows from `first` on."""
        if not self.store:
            n, width = self._shape
            # zeros, as columns that are not yet written are multiplied by a weight of 0
            self.store = tuple(x.new_zeros((n, x.shape[1], width, x.shape[3])) for x in states)
        for buffer, x in zip(self.store, states, strict=True):
            buffer[first : first + len(x), :, : x.shape[2]] = x

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Write column `at` of each row; return the `used` columns."""
        states = (key_states, value_states)
        if not self.store:
            self.take(0, [x[:, :, :0] for x in states])
        every = torch.arange(len(self.at), device=self.at.device)
        for buffer, x in zip(self.store, states, strict=True):
            buffer[every, :, self.at] = x[:, :, 0]
        keys, values = (buffer[:, :, : self.used] for buffer in self.store)
        return keys, values

    def get_seq_length(self) -> int:
        """Return the columns in use."""
        return self.used


class GrowingRows:
    """A batch of rows under a causal model.

    Args:
        hf: A `transformers` causal LM for which `can_grow` is true.
        device: Where it is.
    """

    def __init__(self, hf: Any, device: torch.device) -> None:
        self._hf = hf
        self._device = device
        self._layers: list[_Room] = []
        self._trunks: list[Past | None] = []
        self._lengths: list[int] = []

    @torch.no_grad()
    def change(self, stay: Sequence[int], join: Sequence[Joining], width: int) -> None:
        """Let all rows but `stay` leave and others join after them.

        Args:
            stay: Places of rows, ascending.
            join: May be empty.
            width: Tokens that each row can have, its trunk left out.
        """
        fresh = self._read(join)
        lengths = [self._lengths[i] for i in stay]
        used = max(lengths, default=0)
        places = torch.tensor(stay, dtype=torch.int64, device=self._device)
        for i in range(self._hf.config.get_text_config().num_hidden_layers):
            room = _Room(len(stay) + len(join), width)
            if used:
                room.take(0, [x[places, :, :used] for x in self._layers[i].store])
            if fresh:
                room.take(len(stay), fresh[i])
            # one layer after the other, so that old and new buffers do not lie side by side
            self._layers[i : i + 1] = [room]
        self._trunks = [*(self._trunks[i] for i in stay), *(row.trunk for row in join)]
        self._lengths = [*lengths, *(len(row.ids) for row in join)]

    @torch.no_grad()
    def step(self, tokens: Sequence[int], grow: Sequence[bool]) -> Tensor:
        """Read a token of each row; return the logits ``(B, V)`` after it.

        A row that does not `grow` has ended: its logits mean nothing, and it must not grow again.
        """
        # what has ended reads where it ended: there may be no place further on
        pairs = list(zip(self._lengths, grow, strict=True))
        places = [length if grows else max(length - 1, 0) for length, grows in pairs]
        used = max(places) + 1
        at = torch.tensor(places, device=self._device)
        before = torch.tensor([_length(t) for t in self._trunks], device=self._device)
        for layer in self._layers:
            layer.at, layer.used = at, used
        columns = torch.arange(used, device=self._device)
        logits = self._forward(
            torch.tensor(tokens, device=self._device)[:, None],
            (columns <= at[:, None])[:, None, None],
            (at + before)[:, None],
            self._trunks,
            Cache(layers=list(self._layers)),
        )
        self._lengths = [length + grows for length, grows in pairs]
        return logits[:, -1]

    def _read(self, join: Sequence[Joining]) -> list[tuple[Tensor, Tensor]]:
        """Return keys and values of rows that join, layer by layer; empty if there are none."""
        width = max((len(row.ids) for row in join), default=0)
        if not width:
            return []
        ids = torch.zeros((len(join), width), dtype=torch.int64)
        positions = torch.zeros_like(ids)
        for k, row in enumerate(join):
            ids[k, : len(row.ids)] = torch.tensor(row.ids)
            # padding stands where the row ends: there may be no position further on
            last = max(len(row.ids) - 1, 0)
            positions[k] = _length(row.trunk) + torch.arange(width).clamp(max=last)
        causal = torch.ones((1, 1, width, width), dtype=torch.bool, device=self._device).tril()
        cache = DynamicCache()
        trunks = [row.trunk for row in join]
        moved = ids.to(self._device), causal, positions.to(self._device)
        self._forward(*moved, trunks, cache)
        layers: list[Any] = list(cache.layers)
        return [(layer.keys, layer.values) for layer in layers]

    def _forward(
        self,
        ids: Tensor,
        mask: Tensor,
        positions: Tensor,
        trunks: Sequence[Past | None],
        cache: Any,
    ) -> Tensor:
        runs = [list(run) for _, run in groupby(trunks, key=id)]
        with trunk_attention(self._hf, [Segment(run[0], len(run)) for run in runs]):
            out = self._hf(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        logits: Tensor = out.logits
        return logits


def _length(trunk: Past | None) -> int:
    return trunk[0][0].shape[2] if trunk is not None else 0


@torch.no_grad()
def can_grow(hf: Any, device: torch.device) -> bool:
    """Return whether rows of a model can grow on trunks, given that beginnings can be kept.

    Its attention must be exchangeable and cap no scores. Tried once, on three short rows.
    """
    config = hf.config.get_text_config()
    if not hf._supports_attention_backend or getattr(config, "attn_logit_softcapping", None):
        return False
    ids = (torch.arange(8, device=device) % config.vocab_size).tolist()
    trunk = kept(hf, torch.tensor([ids[:2]], device=device))
    rows = GrowingRows(hf, device)
    joining = [Joining(trunk, ids[2:4]), Joining(trunk, []), Joining(None, ids[:3])]
    rows.change([], joining, 4)
    first = rows.step([ids[4], ids[5], ids[6]], [True, True, True])
    rows.change([0, 2], [], 5)
    second = rows.step([ids[7], ids[3]], [True, True])
    wanted: list[Tensor] = []
    for row in ((0, 1, 2, 3, 4), (0, 1, 5), (0, 1, 2, 6), (0, 1, 2, 3, 4, 7), (0, 1, 2, 6, 3)):
        alone = torch.tensor([[ids[i] for i in row]], device=device)
        wanted.append(hf(input_ids=alone, use_cache=False).logits[0, -1])
    apart = torch.stack(wanted)
    return torch.allclose(
        torch.cat([first, second]), apart, rtol=1e-3, atol=1e-3 * float(apart.abs().max())
    )


@torch.no_grad()
def kept(hf: Any, input_ids: Tensor) -> Past:
    """Return keys and values of a beginning, ``(1, P)`` ids."""
    cache = DynamicCache()
    hf(input_ids=input_ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    layers: list[Any] = list(cache.layers)
    return [(layer.keys, layer.values) for layer in layers]
