"""The append-only journal: one event a line, a checksum in each, one writer.

A line is ``{"seq": n, "type": ..., "payload": ..., "crc": "8 hex digits"}``, the checksum being
the CRC-32 of the line as it would stand without it. A torn last line (the process died while
writing) is dropped and reported; anything else that does not fit is an error naming the line.
Whole numbers fit 64 bits.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from jobs_bench.errors import JournalError, StorageError
from jobs_bench.store.codec import EVENT_TYPES, Event

_HEAD = re.compile(rb'\{"seq":(\d{1,18}),"type":"(%b)","payload":' % "|".join(EVENT_TYPES).encode())


def encode_line(seq: int, event: Event) -> bytes:
    """Return the line of an event, with its newline."""
    body = _dump({"seq": seq, "type": event.type, "payload": event.payload})
    crc = f"{zlib.crc32(body.encode()):08x}"
    return f'{body[:-1]},"crc":"{crc}"}}\n'.encode()


def _dump(data: object) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a journal holds.

    Attributes:
        events: In order.
        good_bytes: Length of the part that is whole.
        torn_bytes: Length of a torn last line, usually 0.
    """

    events: tuple[Event, ...]
    good_bytes: int
    torn_bytes: int


def read(path: Path) -> Reading:
    """Return the events of a journal.

    Raises:
        JournalError: There is no journal, a line was edited or damaged, or one is missing.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise JournalError(f"{path}: no journal here; wanted a study folder") from None
    return _events(data, path)


def _events(data: bytes, path: Path) -> Reading:
    events: list[Event] = []
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        line = data[at:] if end < 0 else data[at:end]
        event, problem = _parse(line, len(events))
        if event is None:
            if end < 0:
                return Reading(tuple(events), at, len(data) - at)
            raise JournalError(f"{path}:{len(events) + 1}: {problem}")
        if end < 0:  # whole but for its newline: the writer died between the two
            return Reading(tuple(events), at, len(data) - at)
        events.append(event)
        at = end + 1
    return Reading(tuple(events), at, 0)


def _parse(line: bytes, seq: int) -> tuple[Event | None, str]:
    """Return the event of a line, or what is wrong with it.

    A line as `encode_line` writes it is checked without decoding its payload.
    """
    mark = line.rfind(b',"crc":"')
    head = _HEAD.match(line)
    crc = zlib.crc32(b"}", zlib.crc32(memoryview(line)[: max(mark, 0)]))
    if head and int(head[1]) == seq and line[mark:] == b',"crc":"%08x"}' % crc:
        return Event(head[2].decode(), line[head.end() : mark]), ""
    return _parse_slowly(line, mark, crc, seq)


def _parse_slowly(line: bytes, mark: int, crc: int, seq: int) -> tuple[Event | None, str]:
    try:
        record: Any = orjson.loads(line)
    except orjson.JSONDecodeError as err:
        return None, f"not a line of JSON ({err}); the journal was edited or damaged"
    if not isinstance(record, dict) or mark < 0 or not {"type", "payload"} <= set(record):
        return None, "not an event: wanted seq, type, payload and crc"
    if f"{crc:08x}" != record.get("crc"):
        return None, "the checksum does not match: the line was edited or damaged"
    if record.get("seq") != seq:
        return None, f"got event number {record.get('seq')}, wanted {seq}: a line is missing"
    if record["type"] not in EVENT_TYPES:
        return None, f"got an event of type {record['type']!r}; known: {', '.join(EVENT_TYPES)}"
    return Event(record["type"], record["payload"]), ""


class JournalWriter:
    """Appends events; holds an exclusive lock on the file while it lives.

    Opening cuts off a torn last line. Each `append` is on disk when it returns.
    """

    def __init__(self, path: Path, reading: Reading, *, sync: bool = True) -> None:
        self._path = path
        self._sync = sync
        self._seq = len(reading.events)
        self._file = path.open("ab")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise JournalError(f"{path}: another process is writing this study") from None
        if path.stat().st_size > reading.good_bytes:
            os.truncate(path, reading.good_bytes)

    def append(self, events: Iterable[Event]) -> None:
        """Write events and wait until they are on disk.

        Raises:
            StorageError: The disk is full or gone; nothing that was written before is lost.
        """
        lines = [encode_line(self._seq + i, e) for i, e in enumerate(events)]
        try:
            self._file.write(b"".join(lines))
            self._file.flush()
            if self._sync:
                os.fsync(self._file.fileno())
        except OSError as err:
            raise StorageError(
                f"{self._path}: could not write ({err}); everything before is safe: make room, "
                "then resume the study"
            ) from err
        self._seq += len(lines)

    def close(self) -> None:
        """Close the file and release the lock."""
        try:
            self._file.close()
        except OSError:  # a full disk was reported by append already
            os.close(os.open(self._path, os.O_RDONLY))

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
