"""The corpus file: tokens of many documents, mapped into memory and read in place.

All numbers are little-endian. After a header of 64 bytes come the tokens, zeros up to a multiple of
eight bytes, the offsets and the domain starts of `CorpusTensors`:

| bytes | what |
|---|---|
| 8 | ``JBTOKENS`` |
| 4 | version, 1 |
| 4 | bytes of a token: 2 (uint16) or 4 (int32) |
| 8 | tokens, T |
| 8 | documents, N |
| 8 | domains, D |
| 4 | CRC-32 of offsets and domain starts |
| 16 | zeros |
| 4 | CRC-32 of the 60 bytes before |
| T tokens, padded | |
| 8 (N + 1) | offsets |
| 8 (D + 1) | domain starts |

The tokens' own bits are not summed: that would read the whole file on every opening. They are
looked at where a vocabulary is given.
"""

from __future__ import annotations

import os
import struct
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from numpy.typing import ArrayLike

from jobs_bench.errors import DataError
from jobs_bench.ops._corpus import CorpusTensors

MAGIC = b"JBTOKENS"
VERSION = 1
HEADER = struct.Struct("<8sIIQQQI16xI")

_TYPES: dict[int, np.dtype[np.integer]] = {2: np.dtype("<u2"), 4: np.dtype("<i4")}


@dataclass(frozen=True, slots=True)
class Layout:
    """What a header says.

    Attributes:
        token_bytes: 2 or 4.
        tokens: ``T``.
        documents: ``N``.
        domains: ``D``.
        index_crc: Of offsets and domain starts.
    """

    token_bytes: int
    tokens: int
    documents: int
    domains: int
    index_crc: int

    @property
    def index(self) -> int:
        """First byte of the offsets."""
        return HEADER.size + -(-self.tokens * self.token_bytes // 8) * 8

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.index + 8 * (self.documents + self.domains + 2)

    def pack(self) -> bytes:
        """Return the header."""
        fields = (MAGIC, VERSION, self.token_bytes, self.tokens, self.documents, self.domains)
        head = HEADER.pack(*fields, self.index_crc, 0)[:-4]
        return head + struct.pack("<I", zlib.crc32(head))


def read_layout(head: bytes, size: int, path: Path) -> Layout:
    """Return what the first bytes of a file of `size` bytes say.

    Raises:
        DataError: No corpus file, one of another version, or one that is damaged or cut.
    """
    if not head.startswith(MAGIC):
        raise DataError(f"got a file that begins with {head[:8]!r}; wanted {MAGIC!r}", path)
    if len(head) < HEADER.size:
        raise DataError(f"got {len(head)} bytes; wanted a header of {HEADER.size}", path)
    _, version, width, tokens, documents, domains, index_crc, crc = HEADER.unpack_from(head)
    if version != VERSION:
        raise DataError(f"got version {version} of the corpus file; wanted {VERSION}", path)
    actual = zlib.crc32(head[: HEADER.size - 4])
    if crc != actual:
        raise DataError(f"the header's checksum is {actual:08x}; wanted {crc:08x}", path)
    if width not in _TYPES:
        raise DataError(f"got tokens of {width} bytes; wanted 2 or 4", path)
    layout = Layout(width, tokens, documents, domains, index_crc)
    if layout.size != size:
        raise DataError(f"got {size} bytes; wanted {layout.size}, as the header has it", path)
    return layout


def map_corpus(path: Path) -> CorpusTensors:
    """Return the corpus of a file, mapped into memory: nothing is copied.

    The tensors may be written to, which the file never sees. It must not be cut while they live;
    `write_corpus` replaces a file as a whole and never cuts one.

    Raises:
        DataError: The file cannot be read, or is not what its format says.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEADER.size)
            layout = read_layout(head, os.fstat(file.fileno()).st_size, path)
            whole = np.memmap(file, dtype=np.uint8, mode="c")
    except OSError as err:
        raise DataError(f"cannot be read: {err.strerror or err}", path) from err
    index = whole[layout.index :]
    crc = zlib.crc32(index.data)
    if crc != layout.index_crc:
        raise DataError(f"the index's checksum is {crc:08x}; wanted {layout.index_crc:08x}", path)
    tokens = whole[HEADER.size : HEADER.size + layout.tokens * layout.token_bytes]
    marks = index.view("<i8")
    split = layout.documents + 1
    parts = (tokens.view(_TYPES[layout.token_bytes]), marks[:split], marks[split:])
    try:
        return CorpusTensors(*(torch.from_numpy(part) for part in parts))
    except DataError as err:
        raise DataError(str(err), path) from err


def write_corpus(
    path: Path, domains: Iterable[Iterable[ArrayLike]], *, dtype: torch.dtype = torch.int32
) -> None:
    """Write documents to a corpus file, which is there whole or not at all.

    The documents are taken one at a time; only their offsets are kept. The file is written beside
    its place, flushed to disk and renamed.

    Args:
        path: Where to.
        domains: Domains of documents of token ids, one-dimensional whole numbers.
        dtype: ``torch.int32``, or ``torch.uint16`` where every id is below ``2**16``.

    Raises:
        DataError: An id that the type cannot hold, or a document that is not a row of ids.
    """
    kinds = {torch.uint16: _TYPES[2], torch.int32: _TYPES[4]}
    if dtype not in kinds:
        raise DataError(f"got tokens of {dtype}; wanted torch.uint16 or torch.int32")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            _write(file, domains, kinds[dtype])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(
    file: IO[bytes], domains: Iterable[Iterable[ArrayLike]], dtype: np.dtype[np.integer]
) -> None:
    offsets, starts = array("q", [0]), array("q", [0])
    file.write(bytes(HEADER.size))
    for domain in domains:
        for document in domain:
            ids = _ids(document, dtype, len(offsets) - 1)
            file.write(ids.tobytes())
            offsets.append(offsets[-1] + ids.size)
        starts.append(len(offsets) - 1)
    index = np.concatenate([offsets, starts]).astype("<i8").tobytes()
    layout = Layout(
        dtype.itemsize, offsets[-1], len(offsets) - 1, len(starts) - 1, zlib.crc32(index)
    )
    file.write(bytes(layout.index - file.tell()))
    file.write(index)
    file.seek(0)
    file.write(layout.pack())
    file.flush()
    os.fsync(file.fileno())


def _ids(document: ArrayLike, dtype: np.dtype[np.integer], number: int) -> np.ndarray:
    """Return the ids of a document in a file's type."""
    ids = np.asarray(document)
    if ids.size == 0:
        return np.empty(0, dtype=dtype)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise DataError(
            f"got document {number} of shape {ids.shape} and type {ids.dtype}; wanted a row of "
            "whole numbers"
        )
    low, high = int(ids.min()), int(ids.max())
    top = np.iinfo(dtype).max
    if low < 0 or high > top:
        raise DataError(f"got ids {low} .. {high} in document {number}; wanted [0, {top}]")
    return ids.astype(dtype)
