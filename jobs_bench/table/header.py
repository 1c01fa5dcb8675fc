"""``table.yaml``: what a table holds, in which units and directions, and where it is from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

import yaml

from jobs_bench.errors import DataError, UnknownNameError
from jobs_bench.fidelity import Fidelity
from jobs_bench.space.space import Space
from jobs_bench.table.space_json import space_from_json, space_to_json
from jobs_bench.task.contract import Metric

FORMAT: Final = "jobs-bench table"
VERSION: Final = 1
FILE: Final = "table.yaml"

At = Literal["curve", "horizon"]


@dataclass(frozen=True, slots=True)
class TableMetric:
    """A measured column of ``points.parquet``.

    Attributes:
        name: Column; its standard error is in the column ``<name>.se`` where that exists.
        higher_is_better: Direction; a table without it is refused.
        low: Lowest possible value.
        high: Highest possible value.
        unit: As in ``bits per byte`` or ``share``.
        items: Evaluation items behind a value, 0: unknown.
        at: ``curve`` (at every step) or ``horizon`` (at the last one only).
    """

    name: str
    higher_is_better: bool
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    items: int = 0
    at: At = "curve"


@dataclass(frozen=True, slots=True)
class Target:
    """One task that the table can replay.

    Attributes:
        name: As in ``target=word2``.
        metric: Column of the metric behind the score.
        oracle: Column the oracle reads; empty: `metric` itself, averaged over all seeds.
        metrics: Short names of the columns that outcomes carry, `metric` among them.
        steps: Steps at which strategies see scores, empty: all of the table's.
        task: Spec of the live task that was recorded, empty: none.
        signature: Of that task.
        parts: Short names with weights: `metric` is their weighted sum; empty: it is no such sum.
    """

    name: str
    metric: str
    oracle: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    task: str = ""
    signature: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableHeader:
    """All of ``table.yaml``.

    Attributes:
        name: Of the table, a plain word.
        summary: One sentence.
        licence: Of the data.
        reference: Source.
        space: Of the configurations.
        fidelity: Steps of the curves.
        metrics: Measured columns.
        targets: Tasks that can be replayed.
        domains: Training domains and their rows.
        full_run_s: Seconds of a full run of the default recipe: what virtual clocks go by.
        base: Scores of the untrained model on the oracle's items, by target; empty: not measured.
        provenance: Versions, machine, command; for people.
    """

    name: str
    summary: str
    licence: str
    reference: str
    space: Space
    fidelity: Fidelity
    metrics: tuple[TableMetric, ...]
    targets: tuple[Target, ...]
    domains: tuple[tuple[str, int], ...] = ()
    full_run_s: float = 1.0
    base: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [m.name for m in self.metrics]
        _distinct("metrics", names)
        _distinct("targets", [t.name for t in self.targets])
        if not (math.isfinite(self.full_run_s) and self.full_run_s > 0):
            raise DataError(f"got full_run_s={self.full_run_s}; wanted a number of seconds above 0")
        for name in names:
            if name.endswith(".se") or name.startswith("loss.") or name in ("trial", "step"):
                raise DataError(
                    f"got a metric called {name!r}, which is the name of another column"
                )
        if "loss" in names and "se" in dict(self.domains):
            raise DataError("got a metric 'loss' and a domain 'se', both with a column loss.se")
        for target in self.targets:
            self._check(target)

    def _check(self, target: Target) -> None:
        wanted = [target.metric, *target.metrics.values()]
        for name in [*wanted, target.oracle] if target.oracle else wanted:
            self.metric(name)
        late = [n for n in wanted if self.metric(n).at != "curve"]
        if late:
            raise DataError(f"target {target.name}: {', '.join(late)} is measured at the end only")
        if target.metric not in target.metrics.values():
            raise DataError(f"target {target.name}: {target.metric} is not among its metrics")
        for part in target.parts:
            if part not in target.metrics:
                raise UnknownNameError(f"part of target {target.name}", part, target.metrics)
        surplus = [s for s in target.steps if s not in self.fidelity.steps]
        if surplus or (target.steps and target.steps[-1] != self.fidelity.horizon):
            raise DataError(
                f"target {target.name}: got the steps {target.steps}; wanted some of "
                f"{self.fidelity.steps}, the last one included"
            )

    def metric(self, name: str) -> TableMetric:
        """Return the metric of a column.

        Raises:
            UnknownNameError: There is none.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise UnknownNameError("metric", name, [m.name for m in self.metrics])

    def target(self, name: str) -> Target:
        """Return a target; an empty name is the only target.

        Raises:
            UnknownNameError: There is none, or several and the name is empty.
        """
        if not name and len(self.targets) == 1:
            return self.targets[0]
        for target in self.targets:
            if target.name == name:
                return target
        raise UnknownNameError("target", name, [t.name for t in self.targets])

    def task_metric(self, target: Target, short: str) -> Metric:
        """Return a target's metric under its short name."""
        metric = self.metric(target.metrics[short])
        return Metric(short, metric.higher_is_better, metric.low, metric.high)


def header_to_yaml(header: TableHeader) -> str:
    """Return the text of ``table.yaml``, keys in reading order."""
    plain = {
        "format": FORMAT,
        "version": VERSION,
        "name": header.name,
        "summary": header.summary,
        "licence": header.licence,
        "reference": header.reference,
        "fidelity": {"unit": header.fidelity.unit, "steps": list(header.fidelity.steps)},
        "full_run_s": header.full_run_s,
        "base": dict(header.base),
        "domains": dict(header.domains),
        "targets": {t.name: _without_defaults(t) for t in header.targets},
        "metrics": {m.name: _without_defaults(m) for m in header.metrics},
        "space": space_to_json(header.space),
        "provenance": dict(header.provenance),
    }
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)


def read_header(path: Path) -> TableHeader:
    """Return the header in the file `path`.

    Raises:
        DataError: It is missing, no YAML, of another format or version, or lacks something.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise DataError(f"there is no {path.name}; wanted the folder of a table", path) from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise DataError(f"is no YAML: {err}", path) from err
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise DataError(f"is no header of a table; wanted format: {FORMAT}", path)
    if data.get("version") != VERSION:
        raise DataError(
            f"got format version {data.get('version')!r}; this release reads {VERSION}", path
        )
    try:
        return _header(data)
    except KeyError as err:
        raise DataError(f"lacks {err}", path) from err
    except (DataError, UnknownNameError, TypeError, ValueError) as err:
        raise DataError(str(err), path) from err


def _header(data: Mapping[str, Any]) -> TableHeader:
    return TableHeader(
        name=str(data["name"]),
        summary=str(data["summary"]),
        licence=str(data["licence"]),
        reference=str(data.get("reference", "")),
        space=space_from_json(data["space"]),
        fidelity=Fidelity(
            tuple(int(s) for s in data["fidelity"]["steps"]),
            str(data["fidelity"].get("unit", "step")),
        ),
        metrics=tuple(metric_from_json(str(n), m) for n, m in data["metrics"].items()),
        targets=tuple(target_from_json(str(n), t) for n, t in data["targets"].items()),
        domains=tuple((str(d), int(n)) for d, n in (data.get("domains") or {}).items()),
        full_run_s=float(data.get("full_run_s", 1.0)),
        base={str(t): float(v) for t, v in (data.get("base") or {}).items()},
        provenance=data.get("provenance") or {},
    )


def metric_from_json(name: str, data: object) -> TableMetric:
    """Return a metric.

    Raises:
        DataError: It has no direction, or parts of another form.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("higher_is_better"), bool):
        raise DataError(
            f"metric {name}: got {data!r}; wanted a direction, higher_is_better: true or false"
        )
    _known(f"part of metric {name}", data, TableMetric)
    at = data.get("at", "curve")
    if at not in get_args(At):
        raise UnknownNameError(f"place of metric {name}", str(at), get_args(At))
    low, high = float(data.get("low", 0.0)), float(data.get("high", 1.0))
    if not low < high:
        raise DataError(f"metric {name}: got low={low} and high={high}; wanted low below high")
    return TableMetric(
        name, data["higher_is_better"], low, high, str(data.get("unit", "")),
        int(data.get("items", 0)), at,
    )  # fmt: skip


def target_from_json(name: str, data: object) -> Target:
    """Return a target; without ``metrics`` it shows the metric behind its score alone.

    Raises:
        DataError: Parts of another form.
    """
    if not isinstance(data, Mapping) or "metric" not in data:
        raise DataError(f"target {name}: got {data!r}; wanted its metric")
    _known(f"part of target {name}", data, Target)
    metric = str(data["metric"])
    shown = data.get("metrics") or {metric: metric}
    return Target(
        name=name,
        metric=metric,
        oracle=str(data.get("oracle", "")),
        metrics={str(k): str(v) for k, v in shown.items()},
        steps=tuple(int(s) for s in data.get("steps") or ()),
        task=str(data.get("task", "")),
        signature=str(data.get("signature", "")),
        parts={str(k): float(v) for k, v in (data.get("parts") or {}).items()},
    )


def _known(kind: str, data: Mapping[str, Any], of: type) -> None:
    known = [f.name for f in fields(of) if f.name != "name"]
    for key in data:
        if key not in known:
            raise UnknownNameError(kind, str(key), known)


def _without_defaults(item: TableMetric | Target) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for f in fields(item):
        value = getattr(item, f.name)
        empty = value in ("", (), {})
        if f.name == "name" or empty or (f.name in ("items", "at") and value == f.default):
            continue
        plain[f.name] = (
            dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple)
            else value
        )  # fmt: skip
    return plain


def _distinct(what: str, names: list[str]) -> None:
    if not names or len(set(names)) != len(names):
        raise DataError(f"got the {what} {names}; wanted at least one, with distinct names")
