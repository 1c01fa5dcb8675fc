"""Somebody's sweep becomes a table: CSV or JSONL files and a mapping file.

The mapping (YAML) is a ``table.yaml`` without counts, and a part ``import`` that says which columns
of which files hold what. Standard CSV: one row a (trial, step) with the columns ``trial``, those of
the configuration, ``step`` and the metrics, empty where not measured. Files with the configuration
apart are joined on a key. Nothing is guessed: what is missing, twice or of the wrong form is an
error that names file and column.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import yaml

from jobs_bench.errors import DataError, InputError, UnknownNameError
from jobs_bench.fidelity import Fidelity
from jobs_bench.space.axes import Axis, Int, Subset
from jobs_bench.space.configuration import AxisValue, Configuration, Mixture
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Space
from jobs_bench.table.design import part_of
from jobs_bench.table.header import TableHeader, metric_from_json, target_from_json
from jobs_bench.table.space_json import space_from_json
from jobs_bench.table.table import TRIAL_COLUMNS, Table, spread

COST_COLUMNS: Final = ("train_tok", "train_flop", "run_s", "eval_tok", "eval_flop")


@dataclass(frozen=True, slots=True)
class Source:
    """The part ``import`` of a mapping.

    Attributes:
        files: Groups of files to be joined, one after the other; a group's frames are joined on
            `key`. Paths are relative to the folder given to the command.
        key: Columns on which the files of a group are joined; they must be unique in each file.
        trial: Column that names the trial; empty: each row is a trial of its own.
        seed: Column of the training seed; empty: repeated configurations count up from 0.
        status: Column of how a trial ended (``ok``, ``diverged``, ...); empty: all ended well.
        step: Column of the step; empty: every row is at the horizon.
        config: Axis (a mixture: ``<axis>.<domain>``) to column; empty: the columns have the axes'
            names.
        normalise: Whether rounded mixtures are divided by their sum, when it is within 2 % of 1.
        metrics: Metric to column; empty: the columns have the metrics' names.
        errors: Metric to the column of its standard error.
        averages: Metric to the metrics that it is the plain mean of, instead of a column.
        losses: Domain to the column of its loss.
        costs: From ``train_tok``, ``train_flop``, ``run_s``, ``eval_tok``, ``eval_flop`` to a
            column or a number; ``train_flop`` is 1 for all where it is not given.
    """

    files: tuple[tuple[str, ...], ...]
    key: tuple[str, ...] = ()
    trial: str = ""
    seed: str = ""
    status: str = ""
    step: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    normalise: bool = False
    metrics: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    averages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    losses: Mapping[str, str] = field(default_factory=dict)
    costs: Mapping[str, str | float] = field(default_factory=dict)


def import_table(mapping: Path, folder: Path) -> Table:
    """Return the table that a mapping makes of the files in `folder`.

    Args:
        mapping: YAML file.
        folder: Where its files are.

    Raises:
        DataError: A file is missing or cannot be read, a column is missing, a value has another
            form, a row stands there twice.
    """
    try:
        data = yaml.safe_load(mapping.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as err:
        raise DataError(f"cannot be read as YAML: {err}", mapping) from err
    if not isinstance(data, Mapping):
        raise DataError("is no mapping of an import", mapping)
    try:
        header, source = _header(data), _source(data.get("import"))
    except KeyError as err:
        raise DataError(f"lacks {err}", mapping) from err
    except (InputError, TypeError, ValueError) as err:
        raise DataError(str(err), mapping) from err
    frame = pd.concat([_joined(folder, g, source.key) for g in source.files], ignore_index=True)
    return _table(header, source, frame, mapping)


def _header(data: Mapping[str, Any]) -> TableHeader:
    known = [f.name for f in fields(TableHeader)]
    for name in data:
        if name not in (*known, "import"):
            raise UnknownNameError("part of a mapping", str(name), [*known, "import"])
    steps = tuple(int(s) for s in data["fidelity"]["steps"])
    metrics = tuple(metric_from_json(str(n), m) for n, m in data["metrics"].items())
    return TableHeader(
        name=str(data["name"]),
        summary=str(data["summary"]),
        licence=str(data["licence"]),
        reference=str(data.get("reference", "")),
        space=space_from_json(data["space"]),
        fidelity=Fidelity(steps, str(data["fidelity"].get("unit", "step"))),
        metrics=metrics,
        targets=tuple(target_from_json(str(n), t) for n, t in data["targets"].items()),
        domains=tuple((str(d), int(n)) for d, n in (data.get("domains") or {}).items()),
        full_run_s=float(data.get("full_run_s", 1.0)),
        base=data.get("base") or {},
        provenance=data.get("provenance") or {},
    )


def _source(data: object) -> Source:
    if not isinstance(data, Mapping) or not data.get("files"):
        raise DataError(f"got import: {data!r}; wanted at least its files")
    known = [f.name for f in fields(Source)]
    for name in data:
        if name not in known:
            raise UnknownNameError("part of import", str(name), known)
    for name in data.get("costs") or {}:
        if name not in COST_COLUMNS:
            raise UnknownNameError("cost", str(name), COST_COLUMNS)
    groups = tuple(tuple(g) if isinstance(g, list) else (str(g),) for g in data["files"])
    plain = {**data, "files": groups, "key": tuple(data.get("key") or ())}
    return Source(**plain)


def _joined(folder: Path, group: Sequence[str], key: Sequence[str]) -> pd.DataFrame:
    frames = [_read(folder, name) for name in group]
    joined = frames[0]
    if len(frames) > 1 and not key:
        raise DataError(f"got the files {list(group)} to join without a key")
    for name, frame in zip(group, frames, strict=True):
        for column in key:
            _column(frame, column, folder / name)
        if len(frames) > 1 and frame.duplicated(list(key)).any():
            twice = int(frame.duplicated(list(key)).sum())
            raise DataError(f"{twice} rows repeat the key {', '.join(key)}", folder / name)
    for name, frame in zip(group[1:], frames[1:], strict=True):
        merged = joined.merge(frame, on=list(key), validate="one_to_one")
        if len(merged) != len(joined) or len(merged) != len(frame):
            raise DataError(
                f"{len(frame)} rows, of which {len(merged)} have a partner among the "
                f"{len(joined)} rows of {group[0]}; wanted one for each",
                folder / name,
            )
        joined = merged
    return joined


def _read(folder: Path, name: str) -> pd.DataFrame:
    path = folder / name
    if path.resolve().parent != folder.resolve():
        raise DataError(f"got the file {name!r}; wanted one in {folder} itself")
    try:
        if path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            return pd.json_normalize([json.loads(line) for line in lines if line.strip()])
        return pd.read_csv(path)
    except FileNotFoundError as err:
        raise DataError("is missing", path) from err
    except (ValueError, UnicodeDecodeError) as err:
        raise DataError(f"cannot be read: {err}", path) from err


def _table(header: TableHeader, source: Source, frame: pd.DataFrame, mapping: Path) -> Table:
    configs = _configs(header.space, source, frame, mapping)
    names = (
        frame[_column(frame, source.trial, mapping)] if source.trial else frame.index.to_series()
    )
    steps = (
        _numbers(frame, source.step, mapping).astype("int64")
        if source.step
        else pd.Series(header.fidelity.horizon, index=frame.index)
    )
    twice = pd.DataFrame({"trial": names, "step": steps}).duplicated()
    if twice.any():
        raise DataError(
            f"{int(twice.sum())} rows repeat a trial and step: {names[twice].tolist()[:5]}", mapping
        )
    numbers = {name: i for i, name in enumerate(dict.fromkeys(names))}
    trial = names.map(numbers).astype("int64")
    first = frame.assign(trial=trial).drop_duplicates("trial")
    own = [configs[i] for i in first.index]
    for at, config in zip(frame.index, configs, strict=True):
        if config != own[trial[at]]:
            raise DataError(f"trial {names[at]} has two configurations", mapping, int(at) + 2)
    points = pd.DataFrame({"trial": trial, "step": steps})
    for metric in header.metrics:
        if metric.name in source.averages:
            continue
        column = source.metrics.get(metric.name, metric.name)
        points[metric.name] = _numbers(frame, column, mapping)
        if metric.name in source.errors:
            points[f"{metric.name}.se"] = _numbers(frame, source.errors[metric.name], mapping)
    for name, of in source.averages.items():
        for part in (name, *of):
            header.metric(part)
        points[name] = points[[_column(points, part, mapping) for part in of]].mean(
            axis=1, skipna=False
        )
    for domain, column in source.losses.items():
        points[f"loss.{domain}"] = _numbers(frame, column, mapping)
    shown = [c for c in points if c not in ("trial", "step")]
    points = points[points[shown].notna().any(axis=1)].reset_index(drop=True)
    return Table(header, _trials(header, source, first, own, mapping), points)


def _trials(
    header: TableHeader,
    source: Source,
    first: pd.DataFrame,
    configs: Sequence[Configuration],
    mapping: Path,
) -> pd.DataFrame:
    numbers = {config: i for i, config in enumerate(dict.fromkeys(configs))}
    at = [numbers[config] for config in configs]
    counted = pd.Series(at).groupby(at).cumcount().to_numpy()
    seeds = _numbers(first, source.seed, mapping).to_numpy() if source.seed else counted

    def cost(name: str, without: float) -> np.ndarray:
        given = source.costs.get(name, without)
        if isinstance(given, str):
            return _numbers(first, given, mapping).to_numpy(dtype=np.float64)
        return np.full(len(first), float(given))

    first = first.reset_index(drop=True)
    columns: dict[str, Any] = {
        "trial": np.arange(len(first)),
        "config": at,
        "seed": seeds,
        "part": [part_of(i) for i in at],
        "status": first[_column(first, source.status, mapping)] if source.status else "ok",
        "run_s": cost("run_s", math.nan),
        "train_tok": cost("train_tok", 0.0),
        "train_flop": cost("train_flop", 1.0),
    }
    frame = pd.DataFrame(columns).astype(dict(TRIAL_COLUMNS))
    for target in header.targets:
        frame[f"eval_tok.{target.name}"] = cost("eval_tok", 0.0)
        frame[f"eval_flop.{target.name}"] = cost("eval_flop", 0.0)
    return pd.concat([frame, spread(header.space, configs)], axis=1)


def _configs(
    space: Space, source: Source, frame: pd.DataFrame, mapping: Path
) -> list[Configuration]:
    columns: dict[str, str] = {}
    for axis in space.axes:
        names = (
            [f"{axis.name}.{d}" for d in axis.domains] if isinstance(axis, Simplex) else [axis.name]
        )
        for name in names:
            columns[name] = _column(frame, source.config.get(name, name), mapping)
    found = []
    rows = frame[list(columns.values())].to_dict("records")
    for line, record in enumerate(rows, start=2):
        values: dict[str, AxisValue] = {}
        for axis in space.axes:
            try:
                if isinstance(axis, Simplex):
                    weights = {d: record[columns[f"{axis.name}.{d}"]] for d in axis.domains}
                    values[axis.name] = _mixture(axis, weights, source.normalise)
                    continue
                cell = record[columns[axis.name]]
                if isinstance(cell, list) or not pd.isna(cell):
                    values[axis.name] = _scalar(axis, cell)
            except InputError as err:
                raise DataError(str(err), mapping, line) from err
        try:
            found.append(space.check(values))
        except InputError as err:
            raise DataError(f"row {line}: {err}", mapping) from err
    return found


def _mixture(axis: Simplex, weights: Mapping[str, float], normalise: bool) -> Mixture:
    total = math.fsum(float(w) for w in weights.values())
    if normalise and 0.98 <= total <= 1.02:
        return axis.realise(Mixture.normalised(weights))
    return Mixture(weights)


def _scalar(axis: Axis, value: Any) -> AxisValue:
    """Return a cell as a value of its axis, which checks it."""
    if isinstance(axis, Subset):
        return tuple(value if isinstance(value, list) else str(value).split("+"))
    if isinstance(axis, Int) and isinstance(value, float) and value.is_integer():
        return int(value)  # a column with empty cells is one of floats
    if isinstance(value, (str, list)):
        return str(value)
    return int(value) if isinstance(axis, Int) and float(value).is_integer() else float(value)


def _column(frame: pd.DataFrame, name: str, where: Path) -> str:
    if name not in frame.columns:
        raise DataError(
            f"got the column {name!r}, which is not there; there are {', '.join(map(str, frame))}",
            where,
        )
    return name


def _numbers(frame: pd.DataFrame, name: str, where: Path) -> pd.Series[float]:
    column = frame[_column(frame, name, where)]
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = numbers.isna() & column.notna()
    if wrong.any():
        raise DataError(
            f"column {name!r}: {int(wrong.sum())} values are no numbers, as "
            f"{column[wrong].iloc[0]!r}",
            where,
        )
    return numbers
