"""A tokenised corpus as three tensors: documents one after another, those of a domain together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from jobs_bench.errors import DataError

TOKEN_TYPES = (torch.uint16, torch.int32)

_CHUNK = 1 << 24  # tokens looked at in one go


@dataclass(frozen=True, slots=True, eq=False)
class CorpusTensors:
    """A corpus that was looked through once, on construction.

    Attributes:
        tokens: ``(T,)`` uint16 or int32, contiguous, on the device the batches are wanted on.
        offsets: ``(N + 1,)`` int64, contiguous, beside `tokens`: where each document begins, from
            0, never falling, and at last ``T``. A document may be empty.
        domains: ``(D + 1,)`` int64 on the CPU: the first document of each domain, from 0, never
            falling, and at last ``N``. A domain may be empty.

    Raises:
        DataError: Tensors that do not fit together.
    """

    tokens: Tensor
    offsets: Tensor
    domains: Tensor

    def __post_init__(self) -> None:
        if self.tokens.dtype not in TOKEN_TYPES:
            raise DataError(
                f"got tokens of {self.tokens.dtype}; wanted torch.uint16 or torch.int32"
            )
        for name in ("tokens", "offsets", "domains"):
            tensor = getattr(self, name)
            if name != "tokens" and tensor.dtype != torch.int64:
                raise DataError(f"got {name} of {tensor.dtype}; wanted torch.int64")
            if tensor.ndim != 1 or not tensor.is_contiguous():
                raise DataError(
                    f"got {name} {tuple(tensor.shape)} of strides {tensor.stride()}; wanted one "
                    "contiguous dimension"
                )
        if self.offsets.device != self.tokens.device or self.domains.device.type != "cpu":
            raise DataError(
                f"got tokens on {self.tokens.device}, offsets on {self.offsets.device}, domains on "
                f"{self.domains.device}; wanted the first two together and domains on the cpu"
            )
        _check_rises("offsets", self.offsets, self.tokens.numel())
        _check_rises("domains", self.domains, self.offsets.numel() - 1)

    @property
    def sizes(self) -> Tensor:
        """``(D,)`` int64 on the CPU: documents of each domain."""
        return self.domains.diff()

    def check_vocabulary(self, size: int) -> None:
        """Look at every token once.

        Raises:
            DataError: A token outside of ``[0, size)``, with its place.
        """
        for start in range(0, self.tokens.numel(), _CHUNK):
            part = self.tokens[start : start + _CHUNK].to(torch.int32)
            wrong = (part < 0) | (part >= size)
            if bool(wrong.any()):
                at = int(wrong.to(torch.uint8).argmax())
                raise DataError(
                    f"got token {int(part[at])} at place {start + at}; wanted [0, {size}), "
                    "the vocabulary"
                )


def _check_rises(name: str, marks: Tensor, last: int) -> None:
    """Refuse marks that do not rise from 0 to `last`."""
    if marks.numel() == 0 or int(marks[0]) != 0 or int(marks[-1]) != last:
        ends = "nothing" if marks.numel() == 0 else f"{int(marks[0])} .. {int(marks[-1])}"
        raise DataError(f"got {name} over {ends}; wanted 0 .. {last}")
    falls = (marks[1:] < marks[:-1]).nonzero()
    if falls.numel():
        k = int(falls[0])
        raise DataError(
            f"{name} fall from {int(marks[k])} to {int(marks[k + 1])} at {k + 1}; wanted none"
        )
