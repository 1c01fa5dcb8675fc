"""The leaderboard of pytest-benchmark files: quality, overhead of an ask, studies a second, ops.

``tests/bench/test_strategies.py`` puts ``kind`` (``ask`` or ``study``) and ``strategy`` into the
``extra_info`` of its benchmarks; every other benchmark is an operator and goes by its test name.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs_bench.errors import DataError
from jobs_bench.report import leaderboard_text, markdown
from jobs_bench.report.html import environment, own
from jobs_bench.report.standing_tables import points_text, range_text
from jobs_bench.report.tables import MISSING, Cell, Table
from jobs_bench.stats.bootstrap import Estimate, iqm_estimate


@dataclass(frozen=True, slots=True)
class StrategyRow:
    """What the files say of a strategy.

    Attributes:
        strategy: Its spec.
        of: Distribution and version that brings it.
        score: Interquartile mean of normalised scores over study seeds, ``None`` where no study
            was timed.
        seeds: Studies behind it.
        task: What they were run on.
        budget: Full-run equivalents of each, NaN where unknown.
        studies_per_s: One over the median time of a study, NaN where unknown.
        ask_s: Median seconds of an ask by the number of trials told.
    """

    strategy: str
    of: str
    score: Estimate | None
    seeds: int
    task: str
    budget: float
    studies_per_s: float
    ask_s: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """One timed operator.

    Attributes:
        test: Name of the test, without parameters.
        case: Parameters that are not the implementation.
        how: The implementation.
        best_s: Shortest round.
        median_s: Median round.
        speed_up: Time of the slowest implementation of the same case over this one's, by the
            median; 1 for the slowest.
    """

    test: str
    case: str
    how: str
    best_s: float
    median_s: float
    speed_up: float


@dataclass(frozen=True, slots=True)
class Benchmarks:
    """Everything the files hold, best first."""

    strategies: tuple[StrategyRow, ...]
    operators: tuple[OperatorRow, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        plain: dict[str, Any] = _finite(asdict(self))
        return plain

    def tables(self) -> list[Table]:
        """Return the tables that have rows."""
        found = [_strategy_table(self.strategies), _operator_table(self.operators)]
        return [t for t in found if t.rows]


def read(files: Sequence[Path]) -> Benchmarks:
    """Return what pytest-benchmark files hold together; of one benchmark the last file counts.

    Raises:
        DataError: A file cannot be read or is none of pytest-benchmark's.
    """
    found: dict[str, dict[str, Any]] = {}
    machines: set[str] = set()
    repeated = 0
    for path in files:
        data = _load(path)
        machines.add(_machine(data))
        for one in data["benchmarks"]:
            repeated += one["fullname"] in found
            found[one["fullname"]] = one
    notes = [f"measured on: {m}" for m in sorted(machines) if m]
    if len(machines) > 1:
        notes.append("several kinds of machine: times of different files do not compare")
    if repeated:
        notes.append(f"{repeated} benchmarks are in several files: the last file counts")
    strategic: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for one in found.values():
        (strategic if one["extra_info"].get("kind") in ("ask", "study") else others).append(one)
    return Benchmarks(_strategies(strategic), _operators(others), tuple(notes))


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        for one in data["benchmarks"]:
            one["fullname"], one["extra_info"], one["stats"]["median"], one["stats"]["min"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as err:
        raise DataError(f"cannot be read ({err})", path) from err
    except (KeyError, TypeError) as err:
        raise DataError(
            f"got no file of pytest --benchmark-json (lacks {err}); make one with "
            "pytest tests/bench --benchmark-only --benchmark-json FILE",
            path,
        ) from err
    return dict(data)


def _machine(data: Mapping[str, Any]) -> str:
    info = data.get("machine_info") or {}
    cpu = info.get("cpu") or {}
    parts = [cpu.get("brand_raw") or info.get("machine"), info.get("python_version")]
    return ", Python ".join(str(p) for p in parts if p)


def _strategies(benchmarks: Sequence[Mapping[str, Any]]) -> tuple[StrategyRow, ...]:
    names = sorted({str(b["extra_info"]["strategy"]) for b in benchmarks})
    rows = []
    for name in names:
        mine = [b for b in benchmarks if b["extra_info"]["strategy"] == name]
        asks = {
            int(b["extra_info"]["n"]): float(b["stats"]["median"])
            for b in mine
            if b["extra_info"]["kind"] == "ask"
        }
        study = next((b for b in mine if b["extra_info"]["kind"] == "study"), None)
        info = {} if study is None else study["extra_info"]
        scores = np.array(info.get("scores", []), dtype=np.float64)
        known = len(scores) > 0 and bool(np.isfinite(scores).all())
        rows.append(
            StrategyRow(
                strategy=name,
                of=str(mine[0]["extra_info"].get("of", "")),
                score=iqm_estimate(scores, [len(scores)]) if known else None,
                seeds=len(scores),
                task=str(info.get("task", "")),
                budget=float(info.get("budget", math.nan)),
                studies_per_s=math.nan if study is None else 1.0 / study["stats"]["median"],
                ask_s=dict(sorted(asks.items())),
            )
        )
    return tuple(
        sorted(
            rows, key=lambda r: (r.score is None, -(r.score.value if r.score else 0), r.strategy)
        )
    )


_NAME = re.compile(r"(?:.*::)?(?P<test>[^\[]+)(?:\[(?P<params>.*)\])?")


def _operators(benchmarks: Sequence[Mapping[str, Any]]) -> tuple[OperatorRow, ...]:
    cases: dict[tuple[str, str], list[tuple[str, Mapping[str, Any]]]] = {}
    for one in benchmarks:
        match = _NAME.fullmatch(one["fullname"])
        params = dict(one.get("params") or {})
        how = str(params.pop("how", ""))
        case = ", ".join(f"{k} {v}" for k, v in sorted(params.items()))
        cases.setdefault((match["test"] if match else one["fullname"], case), []).append((how, one))
    rows = []
    for (test, case), found in sorted(cases.items()):
        slowest = max(float(one["stats"]["median"]) for _, one in found)
        for how, one in sorted(found, key=lambda f: (f[1]["stats"]["median"], f[0])):
            median = float(one["stats"]["median"])
            rows.append(
                OperatorRow(test, case, how, float(one["stats"]["min"]), median, slowest / median)
            )
    return tuple(rows)


def seconds_text(value: float) -> str:
    """Return a time in the unit that people would choose."""
    if not math.isfinite(value):
        return MISSING
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def _seconds(value: float | None) -> Cell:
    return Cell(MISSING) if value is None else Cell(seconds_text(value), value)


def _strategy_table(rows: Sequence[StrategyRow]) -> Table:
    sizes = sorted({n for r in rows for n in r.ask_s})
    tasks = sorted({r.task for r in rows if r.task})
    body = tuple(
        (
            Cell(r.strategy, r.strategy, code=True, strong=True),
            Cell(
                points_text(r.score.value if r.score else None), r.score.value if r.score else None
            ),
            Cell(
                range_text(r.score), r.score.low if r.score and r.score.low == r.score.low else None
            ),
            Cell(str(r.seeds), r.seeds),
            Cell(MISSING)
            if math.isnan(r.studies_per_s)
            else Cell(f"{r.studies_per_s:.3g}", r.studies_per_s),
            *(_seconds(r.ask_s.get(n)) for n in sizes),
            Cell(r.of, r.of),
        )
        for r in rows
    )
    columns = (
        "strategy", "score", "95 % interval", "seeds", "studies a second",
        *(f"ask after {n}" for n in sizes), "from",
    )  # fmt: skip
    where = f" on {' and '.join(tasks)}" if tasks else ""
    caption = (
        f"Strategies{where}: normalised score of the recommendation, studies a second, and the "
        "median time of an ask by the trials told before it"
    )
    return Table(caption, columns, body, frozenset({1, 3, 4, *range(5, 5 + len(sizes))}))


def _operator_table(rows: Sequence[OperatorRow]) -> Table:
    body = tuple(
        (
            Cell(r.test, r.test, code=True, strong=True),
            Cell(r.case or MISSING, r.case),
            Cell(r.how or MISSING, r.how, code=bool(r.how)),
            _seconds(r.best_s),
            _seconds(r.median_s),
            Cell(f"{r.speed_up:.2f}", r.speed_up),
        )
        for r in rows
    )
    columns = ("benchmark", "case", "implementation", "best", "median", "speed-up")
    caption = "Operators: speed-up is against the slowest implementation of the same case"
    return Table(caption, columns, body, frozenset({3, 4, 5}))


def write(report: Benchmarks, out: Path) -> list[Path]:
    """Write ``benchmarks.md``, ``.csv`` and ``.html`` into `out`; return their paths."""
    out.mkdir(parents=True, exist_ok=True)
    page = environment()
    html = page.get_template("benchmarks.html.j2").render(
        tables=report.tables(),
        notes=report.notes,
        css=own(page, "report.css"),
        script=own(page, "sort.js"),
    )
    blocks = ["# jobs-bench benchmarks", *(markdown.captioned(t) for t in report.tables())]
    blocks += [markdown.text(note) for note in report.notes]
    made = {
        "benchmarks.md": "\n\n".join(blocks) + "\n",
        "benchmarks.csv": _csv(report),
        "benchmarks.html": html,
    }
    for name, text in made.items():
        leaderboard_text.write(out / name, text)
    return [out / name for name in made]


def _csv(report: Benchmarks) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["kind", "name", "case", "implementation", "quantity", "value"])
    for r in report.strategies:
        head = ["strategy", r.strategy, r.task, r.of]
        if r.score is not None:
            writer.writerow([*head, "score", repr(r.score.value)])
        if not math.isnan(r.studies_per_s):
            writer.writerow([*head, "studies_per_s", repr(r.studies_per_s)])
        for n, seconds in r.ask_s.items():
            writer.writerow([*head, f"ask_{n}_s", repr(seconds)])
    for o in report.operators:
        writer.writerow(["operator", o.test, o.case, o.how, "median_s", repr(o.median_s)])
    return file.getvalue()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
