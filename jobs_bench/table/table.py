"""A table in memory and in its folder: ``table.yaml``, ``trials.parquet``, ``points.parquet``.

``trials.parquet``: one row a recorded trial, in the order of the recording, with the columns
``trial`` (0, 1, ...), ``config`` (number of the configuration), ``seed``, ``part``, ``status``,
``run_s``, ``train_tok`` and ``train_flop`` (of the whole run), for each target
``eval_tok.<target>`` and ``eval_flop.<target>`` (of one evaluation), then the configuration: a
column an axis, a mixture as ``<axis>.<domain>``, a subset as its names joined by ``+``; null where
an axis is inactive.

``points.parquet``: one row a (trial, step), with a column a metric, ``<metric>.se`` for its
standard error, and ``loss.<domain>``; null where nothing was measured.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pandas as pd

from jobs_bench.errors import DataError
from jobs_bench.space.axes import Int, Subset
from jobs_bench.space.configuration import AxisValue, Configuration, Mixture
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Space
from jobs_bench.table.header import FILE, TableHeader, header_to_yaml, read_header

TRIALS: Final = "trials.parquet"
POINTS: Final = "points.parquet"
TRIAL_COLUMNS: Final[Mapping[str, str]] = {
    "trial": "int64",
    "config": "int64",
    "seed": "int64",
    "part": "str",
    "status": "str",
    "run_s": "float64",
    "train_tok": "float64",
    "train_flop": "float64",
}


@dataclass(frozen=True)
class Table:
    """A header with its two frames; see the module for their columns."""

    header: TableHeader
    trials: pd.DataFrame
    points: pd.DataFrame

    @cached_property
    def configs(self) -> dict[int, Configuration]:
        """Return the configurations by number.

        Raises:
            SpaceError: One that is no point of the space.
        """
        first = self.trials.drop_duplicates("config")
        return {
            int(number): config
            for number, config in zip(
                first["config"], configurations(self.header.space, first), strict=True
            )
        }

    @cached_property
    def signature(self) -> str:
        """Return a hash of all that outcomes depend on, the same on every machine."""
        digest = hashlib.sha256()
        header = header_to_yaml(self.header).split("\nprovenance:")[0]
        digest.update(header.encode())
        for frame in (self.trials, self.points):
            shown = frame.drop(columns="run_s", errors="ignore")
            digest.update(",".join(shown.columns).encode())
            digest.update(pd.util.hash_pandas_object(shown, index=False).to_numpy().tobytes())
        return digest.hexdigest()[:16]


def read_table(folder: Path) -> Table:
    """Return the table in `folder`; `validate` tells what is wrong with its content.

    Raises:
        DataError: A file is missing or cannot be read, or lacks a column.
    """
    header = read_header(folder / FILE)
    trials, points = _read(folder / TRIALS), _read(folder / POINTS)
    wanted = [*TRIAL_COLUMNS, *config_columns(header.space)]
    for target in header.targets:
        wanted += [f"eval_tok.{target.name}", f"eval_flop.{target.name}"]
    _columns(folder / TRIALS, trials, wanted)
    _columns(folder / POINTS, points, ["trial", "step", *(m.name for m in header.metrics)])
    return Table(header, trials, points)


def write_table(folder: Path, table: Table) -> None:
    """Write `table` to `folder`, each file there whole or not at all, the header last."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in ((TRIALS, table.trials), (POINTS, table.points)):
        temporary = folder / f"{name}.tmp"
        frame.to_parquet(temporary, index=False, compression="zstd")
        temporary.replace(folder / name)
    temporary = folder / f"{FILE}.tmp"
    temporary.write_text(header_to_yaml(table.header), encoding="utf-8")
    temporary.replace(folder / FILE)


def config_columns(space: Space) -> list[str]:
    """Return the columns that a configuration of `space` is spread over."""
    found: list[str] = []
    for axis in space.axes:
        if isinstance(axis, Simplex):
            found += [f"{axis.name}.{domain}" for domain in axis.domains]
        else:
            found.append(axis.name)
    return found


def spread(space: Space, configs: Sequence[Configuration]) -> pd.DataFrame:
    """Return `configs` as columns."""
    rows: list[dict[str, Any]] = []
    for config in configs:
        row: dict[str, Any] = {}
        for axis in space.axes:
            value = config.get(axis.name)
            if isinstance(axis, Simplex):
                for domain in axis.domains:
                    row[f"{axis.name}.{domain}"] = None if value is None else value[domain]  # type: ignore[call-overload,index]
            else:
                row[axis.name] = "+".join(value) if isinstance(value, tuple) else value
        rows.append(row)
    frame = pd.DataFrame(rows, columns=config_columns(space))
    whole = {a.name: "Int64" for a in space.axes if isinstance(a, Int)}
    return frame.astype(whole)


def configurations(space: Space, rows: pd.DataFrame) -> list[Configuration]:
    """Return the configuration in each row; the opposite of `spread`.

    Raises:
        SpaceError: A row that is no point of `space`.
    """
    columns = config_columns(space)
    found: list[Configuration] = []
    for record in rows[columns].astype(object).to_dict("records"):
        values: dict[str, AxisValue] = {}
        for axis in space.axes:
            if isinstance(axis, Simplex):
                weights = {d: record[f"{axis.name}.{d}"] for d in axis.domains}
                if not any(pd.isna(w) for w in weights.values()):
                    values[axis.name] = Mixture(weights)
                continue
            value = record[axis.name]
            if pd.isna(value):
                continue
            if isinstance(axis, Int):
                values[axis.name] = int(value)
            elif isinstance(axis, Subset):
                values[axis.name] = tuple(v for v in str(value).split("+") if v)
            else:
                values[axis.name] = value
        found.append(space.check(values))
    return found


def config_json(config: Configuration) -> str:
    """Return a configuration as one line of JSON, keys sorted."""
    return json.dumps(config.to_json(), sort_keys=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except FileNotFoundError as err:
        raise DataError("is missing; a table has it beside its table.yaml", path) from err
    except (OSError, ValueError) as err:
        raise DataError(f"is no parquet file that can be read: {err}", path) from err


def _columns(path: Path, frame: pd.DataFrame, wanted: Sequence[str]) -> None:
    lacking = [c for c in wanted if c not in frame.columns]
    if lacking:
        raise DataError(
            f"lacks the columns {', '.join(lacking)}; there are {', '.join(frame.columns)}", path
        )
