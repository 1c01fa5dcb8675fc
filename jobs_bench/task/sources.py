"""Where data sets lie on this machine, and how they are read.

A data set is a folder of JSONL files, ``<data set>/<split>.jsonl``, one JSON object a line, UTF-8.
Folders are looked for first in the one that the user names (an argument, or the environment's
`DATA_VARIABLE`), then in the user cache, where ``jobs-bench fetch`` writes them. The cache's own
place can be set with the environment's `CACHE_VARIABLE`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import platformdirs

from jobs_bench.errors import DataError, InputError, MissingError

DATA_VARIABLE: Final = "JOBS_BENCH_DATA"
CACHE_VARIABLE: Final = "JOBS_BENCH_CACHE"

Record = Mapping[str, object]
Fields = Mapping[str, type | tuple[type, ...]]

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def cache_root() -> Path:
    """Return the folder of fetched models and data sets (it need not exist)."""
    given = os.environ.get(CACHE_VARIABLE, "").strip()
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("jobs-bench"))


def checked_name(kind: str, name: str) -> str:
    """Return `name` when it is safe as one part of a path.

    Args:
        kind: What is named, for the message.
        name: Letters, digits, ``_``, ``.`` and ``-``, beginning with a letter or a digit.

    Raises:
        InputError: It is not.
    """
    if _NAME.fullmatch(name) is None:
        raise InputError(
            f"got the {kind} name {name!r}; wanted letters, digits, '_', '.' or '-', beginning "
            "with a letter or a digit, at most 100 of them"
        )
    return name


@dataclass(frozen=True, slots=True)
class Sources:
    """The folders in which data sets are looked for, in order."""

    roots: tuple[Path, ...]

    @classmethod
    def of(cls, data_dir: Path | None = None) -> Sources:
        """Return `data_dir`, or the environment's folder, and then the user cache.

        Raises:
            InputError: The folder that was named does not exist.
        """
        variable = os.environ.get(DATA_VARIABLE, "").strip()
        named = data_dir if data_dir is not None else Path(variable).expanduser()
        if data_dir is None and not variable:
            return cls((cache_root() / "data",))
        if not named.is_dir():
            origin = "as the data folder" if data_dir is not None else f"in {DATA_VARIABLE}"
            raise InputError(f"got {named} {origin}; wanted a folder with one folder a data set")
        return cls((named, cache_root() / "data"))

    def find(
        self, dataset: str, splits: Sequence[str], endings: Sequence[str] = ("jsonl",)
    ) -> Path | None:
        """Return the file of the first of `splits` that is there, or ``None``.

        The first root that has any of them wins, so that one folder's splits stay together; the
        first of `endings` is preferred.

        Raises:
            InputError: A name that cannot be a file name.
        """
        folder = checked_name("data set", dataset)
        names = [f"{checked_name('split', split)}.{end}" for split in splits for end in endings]
        paths = (root / folder / name for root in self.roots for name in names)
        return next((path for path in paths if path.is_file()), None)

    def read(
        self,
        dataset: str,
        splits: Sequence[str],
        fields: Fields,
        convert: Callable[[Record], T],
        records: Callable[[str], Sequence[Record]] | None = None,
    ) -> list[T]:
        """Return what `convert` makes of each row of the first of `splits` that is there.

        Args:
            dataset: Folder name.
            splits: File names without ``.jsonl``, the preferred one first.
            fields: Fields that every row must have, with their types.
            convert: May raise `DataError` without a place; file and line are added.
            records: Makes rows of a file of plain text, ``<split>.txt``; ``None``: there is none.

        Raises:
            MissingError: None of the splits is on this machine.
            DataError: The file cannot be read, is empty, or a row is not as `fields` says or not to
                the liking of `convert`.
        """
        path = self.find(dataset, splits, ("jsonl", "txt") if records else ("jsonl",))
        if path is None:
            places = ", ".join(str(root / dataset) for root in self.roots)
            wanted = " or ".join(f"{split}.jsonl" for split in splits)
            raise MissingError(
                f"data set {dataset!r} has no {wanted} on this machine (looked in {places}; "
                f"{DATA_VARIABLE} names another folder).",
                f"jobs-bench fetch {dataset}",
            )
        if records is not None and path.suffix == ".txt":
            return [convert(row) for row in records(read_text(path))]
        return read_jsonl(path, fields, convert)


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        DataError: It cannot be read, is empty, or is not UTF-8.
    """
    try:
        content = path.read_bytes().decode()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path) from error
    except UnicodeDecodeError as error:
        raise DataError("got bytes that are not UTF-8", path) from error
    if not content.strip():
        raise DataError("got an empty file; wanted text", path)
    return content


def read_jsonl(path: Path, fields: Fields, convert: Callable[[Record], T]) -> list[T]:
    """Return what `convert` makes of each object of a JSONL file; empty lines are passed over.

    Args:
        path: The file.
        fields: Fields that every row must have, with their types.
        convert: May raise `DataError` without a place; file and line are added.

    Raises:
        DataError: The file cannot be read or is empty; a line is no JSON object, lacks a field, has
            one of another type or an empty one, or `convert` does not like it.
    """
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", path) from error
    items: list[T] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _parse(line, fields, path, number)
        try:
            items.append(convert(row))
        except DataError as error:
            if error.path is not None:
                raise
            raise DataError(str(error), path, number) from error
    if not items:
        raise DataError("got an empty file; wanted one JSON object a line", path)
    return items


def _parse(line: bytes, fields: Fields, path: Path, number: int) -> Record:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise DataError("got bytes that are not UTF-8", path, number) from error
    except json.JSONDecodeError as error:
        start = line[:40].decode(errors="replace")
        raise DataError(f"got {start!r}...; wanted JSON ({error.msg})", path, number) from error
    if not isinstance(row, dict):
        raise DataError(f"got {type(row).__name__}; wanted a JSON object", path, number)
    for name, kinds in fields.items():
        if name not in row:
            raise DataError(f"got the fields {sorted(row)}; wanted {name!r} too", path, number)
        value = row[name]
        wanted = kinds if isinstance(kinds, tuple) else (kinds,)
        if not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted):
            expected = " or ".join(kind.__name__ for kind in wanted)
            got = type(value).__name__
            raise DataError(f"got {name!r} of type {got}; wanted {expected}", path, number)
        if value in ("", []):
            raise DataError(f"got {name!r} empty; wanted something in it", path, number)
    return row


def text(row: Record, name: str) -> str:
    """Return field `name` of `row`.

    Raises:
        DataError: It is not a text.
    """
    value = row[name]
    if not isinstance(value, str):
        raise DataError(f"got {name!r}={value!r}; wanted a text")
    return value


def multiple_choice(row: Record) -> tuple[tuple[str, ...], int]:
    """Return the options of `row` (field ``choices``) and the index of the right one (``answer``).

    Raises:
        DataError: Fewer than two options, one that is not a text, or an answer outside them.
    """
    options, gold = row["choices"], row["answer"]
    if not isinstance(options, list) or not all(isinstance(o, str) for o in options):
        raise DataError(f"got the choices {options!r}; wanted a list of texts")
    if not isinstance(gold, int) or not 0 <= gold < len(options) or len(options) < 2:
        raise DataError(
            f"got the answer {gold!r} with {len(options)} choices; wanted at least two choices and "
            "the index of one of them, from 0"
        )
    return tuple(options), gold


def content_id(dataset: str, parts: Iterable[str]) -> str:
    """Return a stable name for an item that has none: the data set and a hash of its content."""
    digest = hashlib.sha256("\x1f".join(parts).encode())
    return f"{dataset}-{digest.hexdigest()[:16]}"
