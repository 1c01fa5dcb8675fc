"""Suites: which tasks, budgets, workers and seeds a comparison is made on; declared in YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import yaml

from jobs_bench.errors import DataError, UnknownNameError

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Suite:
    """What every strategy is run on.

    Attributes:
        name: A plain word.
        summary: What it is for.
        tasks: Task specs.
        budgets: Full-run equivalents, each above 0.
        workers: Virtual workers, each at least 1.
        seeds: How many seeds each strategy gets where the command names no number.
        tuning: Whether defaults of strategies may be tuned on it.
    """

    name: str
    summary: str
    tasks: tuple[str, ...]
    budgets: tuple[float, ...]
    workers: tuple[int, ...] = (1,)
    seeds: int = 30
    tuning: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain data in reading order."""
        plain = {f.name: getattr(self, f.name) for f in fields(Suite)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def read_suite(path: Path) -> Suite:
    """Return the suite that a file declares.

    Raises:
        DataError: The file is missing, no YAML, of another version, or a part is missing or wrong.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise DataError(f"cannot be read: {err.strerror}", path) from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise DataError(f"is no YAML: {err}", path) from err
    if not isinstance(data, Mapping) or data.get("version") != VERSION:
        raise DataError(f"is no suite; wanted a mapping with version: {VERSION}", path)
    known = [f.name for f in fields(Suite)]
    for key in data:
        if key not in (*known, "version"):
            raise DataError(str(UnknownNameError("part of a suite", str(key), known)), path)
    try:
        suite = Suite(
            name=str(data["name"]),
            summary=str(data.get("summary", "")),
            tasks=tuple(str(t) for t in data["tasks"]),
            budgets=tuple(float(b) for b in data["budgets"]),
            workers=tuple(int(w) for w in data.get("workers", (1,))),
            seeds=int(data.get("seeds", 30)),
            tuning=bool(data.get("tuning", False)),
        )
    except KeyError as err:
        raise DataError(f"lacks {err}", path) from err
    except (TypeError, ValueError) as err:
        raise DataError(f"has a part of another form: {err}", path) from err
    if not (suite.tasks and suite.budgets and suite.workers and suite.seeds > 0):
        raise DataError("wanted at least one task, budget, number of workers and seed", path)
    if min(suite.budgets) <= 0 or min(suite.workers) < 1:
        raise DataError(
            f"got the budgets {list(suite.budgets)} and workers {list(suite.workers)}; wanted "
            "budgets above 0 and at least 1 worker",
            path,
        )
    return suite
