"""Where recorded tables are: a name is looked up in known folders, never pasted into a path."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from jobs_bench.errors import DataError, OptionError, UnknownNameError
from jobs_bench.table.header import FILE
from jobs_bench.table.surrogate import Fitted, load
from jobs_bench.table.table import Table, read_table

ENV: Final = "JOBS_BENCH_TABLES"
_CHECKOUT: Final = Path(__file__).resolve().parents[2] / "results" / "tables"


def roots() -> list[Path]:
    """Return the folders that hold tables: `ENV`, ``results/tables`` here, that of the checkout."""
    named = [Path(p) for p in os.environ.get(ENV, "").split(os.pathsep) if p]
    return [r for r in dict.fromkeys([*named, Path("results/tables"), _CHECKOUT]) if r.is_dir()]


def known() -> dict[str, Path]:
    """Return the tables that have a name: the folders of `roots` with a ``table.yaml``."""
    found: dict[str, Path] = {}
    for root in roots():
        for folder in sorted(root.iterdir()):
            if (folder / FILE).is_file():
                found.setdefault(folder.name, folder)
    return found


def locate(name: str, path: str) -> Path:
    """Return the folder of a table given by name or by path.

    Raises:
        OptionError: Both are given, or none.
        UnknownNameError: No table has the name.
        DataError: The path holds no table.
    """
    if bool(name) == bool(path):
        raise OptionError(
            f"got name={name!r} and path={path!r}; wanted one of them, as in table?name=pocket or "
            "table?path=results/tables/pocket"
        )
    if path:
        folder = Path(path)
        if not (folder / FILE).is_file():
            raise DataError(f"there is no {FILE}; wanted the folder of a table", folder)
        return folder
    tables = known()
    if name not in tables:
        raise UnknownNameError("table", name, tables)
    return tables[name]


def cached_table(folder: Path) -> Table:
    """Return the table in `folder`, read once as long as its header does not change."""
    resolved = folder.resolve()
    return _read(resolved, (resolved / FILE).stat().st_mtime_ns)


def stored_surrogate(folder: Path, target: str, part: str) -> Fitted:
    """Return the surrogate stored beside a table."""
    return load(folder, target, part)


@lru_cache(maxsize=8)
def _read(folder: Path, stamp: int) -> Table:
    del stamp
    return read_table(folder)
