"""How many trials a pack has room for, from what one step of one trial keeps."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Final

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from jobs_bench.train.language_model import LanguageModel

USABLE: Final = 0.5
"""Share of the free memory that a pack may take; the rest is for gradients and intermediates."""
MOST: Final = 64
CPU_TOKENS: Final = 1024
"""Tokens of a pass on a CPU beyond which more trials a pass were measured to gain nothing."""


class SavedBytes:
    """Counts the bytes that autograd keeps for the backward pass, the model's weights aside.

    Attributes:
        total: Bytes so far.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._seen = {p.untyped_storage().data_ptr() for p in model.hf.parameters()}
        self._hooks = saved_tensors_hooks(self._note, lambda tensor: tensor)
        self.total = 0

    def __enter__(self) -> SavedBytes:
        self._hooks.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._hooks.__exit__(kind, error, where)

    def _note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.total += storage.nbytes()
        return tensor


def pack_size(device: torch.device, bytes_each: int, tokens_each: int) -> int:
    """Return how many trials a pack should have, in ``[1, 64]``.

    Args:
        device: Where it runs.
        bytes_each: What a step of one trial keeps, its state included.
        tokens_each: Tokens of such a step.
    """
    room = int(USABLE * free_bytes(device) / max(bytes_each, 1))
    if device.type == "cpu":
        room = min(room, CPU_TOKENS // max(tokens_each, 1))
    return min(max(room, 1), MOST)


def free_bytes(device: torch.device) -> int:
    """Return the memory that this process can still have."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free) + int(kept)
    return min(_available(Path("/proc/meminfo")), _left_to_group(Path("/sys/fs/cgroup")))


def _available(meminfo: Path) -> int:
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _left_to_group(group: Path) -> int:
    """Return what a container's limit (cgroup 2) leaves, page cache counted as used."""
    try:
        limit = int((group / "memory.max").read_text())
        return max(limit - int((group / "memory.current").read_text()), 0)
    except (OSError, ValueError):  # no container, no limit, or the older kind
        return 1 << 62
