"""Columns of a derived table as they grow, and the Arrow table that they end in.

Types are named as pandas names them: ``int64``, ``Int64`` (may be missing), ``float64``, ``bool``,
``str``. The Arrow tables carry them, so that pandas reads back what it would have written.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import pandas as pd
import pyarrow as pa

_ARROW: Final = {
    "int64": pa.int64(),
    "Int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "str": pa.large_string(),
}

Row = tuple[Any, ...]


class Columns:
    """Rows that come one after the other, held by column.

    Args:
        types: Type of each column, by name, in order.

    Attributes:
        types: The same.
    """

    def __init__(self, types: Mapping[str, str]) -> None:
        self.types = dict(types)
        self._columns: list[list[Any]] = [[] for _ in types]

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, row: Row) -> None:
        """Append a row."""
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)

    def lists(self) -> list[list[Any]]:
        """Return the columns themselves, for those who append to each of them quickly."""
        return self._columns

    def insert(self, name: str, kind: str, values: list[Any]) -> None:
        """Append a column of the same length."""
        self.types[name] = kind
        self._columns.append(values)

    def table(self, keys: Mapping[str, str | int], facts: Mapping[str, str]) -> pa.Table:
        """Return the table.

        Args:
            keys: Columns of a single value that go in front.
            facts: What the file says of itself beside its columns.
        """
        kinds = {k: "int64" if isinstance(v, int) else "str" for k, v in keys.items()}
        plain = schema(tuple((kinds | self.types).items()))
        n = len(self)
        arrays = [pa.repeat(pa.scalar(v, _ARROW[kinds[k]]), n) for k, v in keys.items()]
        arrays += [
            pa.array(values, _ARROW[kind], from_pandas=True)
            for kind, values in zip(self.types.values(), self._columns, strict=True)
        ]
        told = {k.encode(): v.encode() for k, v in facts.items()}
        return pa.Table.from_arrays(
            arrays, schema=plain.with_metadata({**(plain.metadata or {}), **told})
        )


@lru_cache(maxsize=1024)
def schema(types: tuple[tuple[str, str], ...]) -> pa.Schema:
    """Return the schema of columns of such types, with what pandas wants to know of them."""
    frame = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in types})
    return pa.Schema.from_pandas(frame, preserve_index=False)
