"""Live study folders as runs: what the journal knows, and no more.

The oracle judges the last recommendation only. So the trace of a live study is known from where
that configuration was first recommended for good, and NaN before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jobs_bench.budget import Budget, Ledger
from jobs_bench.report.board import Exclusion
from jobs_bench.report.runs import FINISHED, Recommended, Run, Trace
from jobs_bench.report.studies import StudyRecord, load_study, study_command
from jobs_bench.runner.study import read_timings
from jobs_bench.store.codec import charge_from_json, read_number
from jobs_bench.store.folder import Manifest, StudyFolder


@dataclass(slots=True)
class _Journal:
    """What a run needs of a journal, gathered in one pass."""

    ledger: Ledger
    trials: set[int] = field(default_factory=set)
    full: set[int] = field(default_factory=set)
    rungs: list[tuple[int, int, float]] = field(default_factory=list)
    recommended: list[tuple[float, dict[str, Any]]] = field(default_factory=list)


def read_live(folder: StudyFolder, name: str) -> Run | Exclusion:
    """Return the run of a study folder, or why there is none."""
    record = load_study(folder, name)
    if record.manifest is None or record.state != "finished":
        m = record.manifest
        return Exclusion(
            name,
            f"{record.state}: {record.detail}",
            "" if m is None else _task(m),
            None,
            "" if m is None else m.strategy,
            None if m is None else m.seed,
        )
    budget = Budget.parse(record.facts.budget)
    if budget.currency not in ("x", "flop"):
        return Exclusion(
            name,
            f"its budget is {budget}: only x and flop can be set against full-run equivalents",
            _task(record.facts),
            None,
            record.facts.strategy,
            record.facts.seed,
        )
    return _run(record, budget)


def _task(manifest: Manifest) -> str:
    return manifest.task if manifest.model is None else f"{manifest.task} with {manifest.model}"


def _run(record: StudyRecord, budget: Budget) -> Run:
    m = record.facts
    journal = _gather(record)
    values = [r.value for r in record.recommended if r.value is not None]
    whole = len(values) == len(record.recommended) > 0
    oracle = math.fsum(v.mean for v in values) / len(values) if whole else math.nan
    spread = float(np.std([v.mean for v in values], ddof=1)) if len(values) > 1 else math.nan
    categories = journal.ledger.by_category("x")
    best = record.best
    return Run(
        study_id=record.name,
        task=_task(m),
        signature=m.signature,
        strategy=m.strategy,
        label=m.strategy,
        seed=m.seed,
        workers=m.workers,
        budget=budget.limit / (m.full_run_flop if budget.currency == "flop" else 1.0),
        status=FINISHED,
        reason="",
        oracle=oracle,
        oracle_se=spread / math.sqrt(len(values)) if len(values) > 1 else math.nan,
        believed=(math.nan,) * 3
        if best is None
        else (_or_nan(best.score), _or_nan(best.low), _or_nan(best.high)),
        trials=(float(len(journal.trials)), float(len(journal.full))),
        cost=(
            categories.get("train", 0.0),
            categories.get("eval", 0.0),
            categories.get("proxy", 0.0),
        ),
        overhead_s=_overhead_s(record.folder.timings),
        virtual_s=math.nan,
        recommended=journal.recommended[-1][1] if journal.recommended else {},
        versions=dict(m.versions),
        command=study_command(m),
        source=record.name,
        trace=_trace(journal, oracle),
        history=tuple(Recommended(spent, config) for spent, config in journal.recommended),
        rungs=np.array(journal.rungs, dtype=np.float64).reshape(-1, 3),
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _gather(record: StudyRecord) -> _Journal:
    m = record.facts
    found = _Journal(Ledger(m.full_run_flop))
    for event in record.events:
        payload = event.payload
        if event.type == "finished":
            found.ledger.add(charge_from_json(c) for c in payload["charges"])
            trial = int(payload["segment"]["trial"])
            found.trials.add(trial)
            for point in payload["points"]:
                found.rungs.append((trial, point["step"], read_number(point["score"][0])))
                if point["step"] == m.steps[-1]:
                    found.full.add(trial)
        elif event.type == "recommended":
            found.recommended.append((found.ledger.spent("x"), payload["config"]))
    return found


def _trace(journal: _Journal, oracle: float) -> Trace:
    last = journal.recommended[-1][1] if journal.recommended else None
    spent = [s for s, _ in journal.recommended] or [0.0]
    scores = [oracle if config == last else math.nan for _, config in journal.recommended]
    return Trace(np.array(spent), np.array(scores or [oracle]))


def _overhead_s(path: Path) -> float:
    seconds = list(_asked_s(path))
    return math.fsum(seconds) if seconds else math.nan


def _asked_s(path: Path) -> Iterator[float]:
    for line in read_timings(path):
        if line.get("what") == "asked" and isinstance(line.get("wall_s"), (int, float)):
            yield float(line["wall_s"])
