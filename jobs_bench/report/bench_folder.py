"""Reads bench folders: ``bench.yaml``, ``studies.parquet``, ``trace.parquet``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from jobs_bench.errors import DataError
from jobs_bench.report.runs import Bench, Run, from_frames

FACTS = "bench.yaml"
STUDIES = "studies.parquet"
TRACE = "trace.parquet"


def bench_folders(root: Path) -> list[Path]:
    """Return the bench folders at or below `root`, ordered by path."""
    return sorted(p.parent for p in root.rglob(FACTS))


def read_bench(folder: Path, source: str = "") -> tuple[Bench, list[Run]]:
    """Return the facts and the runs of a bench folder.

    Raises:
        DataError: A file is missing, damaged, or lacks columns.
    """
    facts = _facts(folder / FACTS)
    frames = {name: _frame(folder / name) for name in (STUDIES, TRACE)}
    try:
        runs = from_frames(frames[STUDIES], frames[TRACE], facts, source)
    except (ValueError, TypeError, json.JSONDecodeError) as err:
        raise DataError(f"got studies and traces that do not fit: {err}", folder) from err
    return Bench(source, facts), runs


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        raise DataError(f"cannot be read ({err})", path) from err
    if not isinstance(facts, dict):
        raise DataError(f"got a {type(facts).__name__}; wanted names and values", path)
    return facts


def _frame(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError("missing; run the bench again (it goes on from where it was)", path)
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as err:
        raise DataError(f"cannot be read ({err})", path) from err
