"""The leaderboard: one row a (task, model, strategy), and what was left out of it and why.

A recommendation is scored by the oracle: its score is the mean over the oracle's training seeds,
and a row's score is the mean of that over the study seeds. Studies that cannot be compared are
never averaged; they are listed with the reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from jobs_bench.budget import Budget
from jobs_bench.report.board import Board, Exclusion, Kind, Row
from jobs_bench.report.interval import Interval, over_oracle, over_studies
from jobs_bench.report.studies import OracleRun, StudyRecord
from jobs_bench.trial import Value


def summarise(studies: Sequence[StudyRecord]) -> tuple[list[Board], list[Exclusion]]:
    """Return one board a (task, model), and the studies that are on none."""
    excluded: list[Exclusion] = []
    pairs: dict[tuple[str, str], list[StudyRecord]] = {}
    for study in studies:
        if study.state != "finished":
            excluded.append(_exclusion(study, f"{study.state}: {study.detail}"))
            continue
        pairs.setdefault((study.facts.task, study.facts.model or ""), []).append(study)
    boards = []
    for _, found in sorted(pairs.items()):
        kept, left_out = _comparable(found)
        excluded += left_out
        kept, left_out = _distinct(kept)
        excluded += left_out
        boards.append(_board(kept))
    return boards, sorted(excluded, key=lambda e: e.study)


def _exclusion(study: StudyRecord, reason: str) -> Exclusion:
    m = study.manifest
    if m is None:
        return Exclusion(study.name, reason)
    return Exclusion(study.name, reason, m.task, m.model, m.strategy, m.seed)


def _conditions(study: StudyRecord) -> tuple[tuple[str, str], ...]:
    """Return what two studies must share to stand on one board, with names."""
    m = study.facts
    default = study.default[0].config if study.default else None
    budget = Budget.parse(m.budget)
    machine = repr(sorted(m.hardware.items())) if budget.currency == "s" else "any"
    return (
        ("signature", m.signature),
        ("metric", f"{m.metric} ({'higher' if m.higher_is_better else 'lower'} is better)"),
        ("budget", str(budget)),
        ("steps", str(m.steps)),
        ("FLOPs of a full run", repr(m.full_run_flop)),
        ("default recipe", repr(default)),
        ("hardware, which a budget in seconds depends on,", machine),
    )


def _comparable(studies: list[StudyRecord]) -> tuple[list[StudyRecord], list[Exclusion]]:
    """Keep the largest set of studies under the same conditions (of equals, the first by path)."""
    counted = Counter(_conditions(s) for s in studies)
    most = max(counted.values())
    chosen = next(c for c in (_conditions(s) for s in studies) if counted[c] == most)
    kept, excluded = [], []
    for study in studies:
        have = _conditions(study)
        if have == chosen:
            kept.append(study)
            continue
        differ = [
            f"{name} is {_short(mine)}, not {_short(theirs)}"
            for (name, mine), (_, theirs) in zip(have, chosen, strict=True)
            if mine != theirs
        ]
        why = "not comparable with the rest of its board: " + "; ".join(differ)
        excluded.append(_exclusion(study, why))
    return kept, excluded


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _distinct(studies: list[StudyRecord]) -> tuple[list[StudyRecord], list[Exclusion]]:
    """Keep one study for each strategy and seed: copies would count twice."""
    seen: dict[tuple[str, int], StudyRecord] = {}
    excluded = []
    for study in studies:
        first = seen.setdefault((study.facts.strategy, study.facts.seed), study)
        if first is not study:
            same = first.fingerprint == study.fingerprint
            what = "a copy of" if same else f"seed {study.facts.seed} is on the board already, by"
            excluded.append(_exclusion(study, f"{what} {first.name}"))
    return list(seen.values()), excluded


def _board(studies: list[StudyRecord]) -> Board:
    m = studies[0].facts
    by_strategy: dict[str, list[StudyRecord]] = {}
    for study in sorted(studies, key=lambda s: (s.facts.strategy, s.facts.seed)):
        by_strategy.setdefault(study.facts.strategy, []).append(study)
    default = _reference(studies, "default recipe")
    rows = [default, _reference(studies, "base model")]
    rows += [_strategy(name, found) for name, found in by_strategy.items()]
    rows = [_with_gain(row, default.score) for row in rows]
    rows.sort(key=lambda r: (r.score is None, -(r.score or 0.0), r.kind, r.strategy))
    return Board(
        task=m.task,
        model=m.model,
        metric=m.metric,
        higher_is_better=m.higher_is_better,
        budget=Budget.parse(m.budget),
        rows=tuple(rows),
        studies={name: tuple(found) for name, found in by_strategy.items()},
    )


def _with_gain(row: Row, default: float | None) -> Row:
    if row.score is None or default is None:
        return row
    return replace(row, gain_over_default=row.score - default)


def _row(study: StudyRecord, name: str, kind: Kind, interval: Interval, **more: Any) -> Row:
    m = study.facts
    sign = 1.0 if m.higher_is_better else -1.0
    return Row(
        task=m.task,
        model=m.model,
        strategy=name,
        kind=kind,
        metric=m.metric,
        score=interval.mean,
        ci_low=interval.low,
        ci_high=interval.high,
        ci_method=interval.method,
        metric_value=None if interval.mean is None else sign * interval.mean,
        currency=Budget.parse(m.budget).currency,
        **more,
    )


def _reference(studies: list[StudyRecord], kind: Literal["default recipe", "base model"]) -> Row:
    """Return the row of a reference; a run that several studies share counts once."""
    runs: dict[int, list[OracleRun]] = {}
    for study in studies:
        for run in study.default if kind == "default recipe" else study.base_model:
            runs.setdefault(run.seed, []).append(run)
    values = [_mean([r.value for r in found if r.value]) for _, found in sorted(runs.items())]
    interval, note = _scored([v for v in values if v], [r for f in runs.values() for r in f])
    config = (
        studies[0].default[0].config if kind == "default recipe" and studies[0].default else None
    )
    return _row(
        studies[0],
        kind,
        kind,
        interval,
        seeds=len(values),
        spent=0.0,
        recommended=None if config is None else dict(config),
        note=note,
    )


def _mean(values: list[Value]) -> Value | None:
    if not values:
        return None
    n = len(values)
    mean, se = math.fsum(v.mean for v in values) / n, math.fsum(v.se for v in values) / n
    return Value(mean, se, min(v.n for v in values))


def _scored(values: list[Value], runs: Sequence[OracleRun]) -> tuple[Interval, str]:
    """Return the interval of oracle runs; no mean at all when one of them failed."""
    failed = [r.status for r in runs if r.value is None]
    if not runs:
        return Interval(None), "no score: no oracle run was made"
    if failed:
        kinds = ", ".join(sorted(set(failed)))
        return Interval(
            None
        ), f"no score: {len(failed)} of {len(runs)} oracle runs failed ({kinds})"
    return over_oracle(values), ""


def _strategy(name: str, studies: list[StudyRecord]) -> Row:
    runs = [r for s in studies for r in s.recommended]
    per_study = [[r.value for r in s.recommended if r.value] for s in studies]
    interval, note = _scored(per_study[0], runs)
    if not note and len(studies) > 1:
        interval = over_studies([_average(values) for values in per_study])
    per_seed = [_recommended(s) for s in studies]
    best = max(per_seed, key=lambda r: (r["believed"] is not None, r["believed"] or 0.0))
    n = len(studies)
    categories = dict.fromkeys(c for s in studies for c in s.spent_by_category)
    return _row(
        studies[0],
        name,
        "strategy",
        interval,
        seeds=n,
        spent=math.fsum(s.spent for s in studies) / n,
        spent_by_category={
            c: math.fsum(s.spent_by_category.get(c, 0.0) for s in studies) / n for c in categories
        },
        trials=sum(s.trials for s in studies),
        failures=sum(len(s.failed) for s in studies),
        recommended=best["config"],
        recommended_per_seed=per_seed,
        note=note,
    )


def _average(values: Sequence[Value]) -> float:
    return math.fsum(v.mean for v in values) / len(values)


def _recommended(study: StudyRecord) -> dict[str, Any]:
    values = [r.value for r in study.recommended if r.value]
    complete = len(values) == len(study.recommended) > 0
    best = study.best
    config = study.recommended[0].config if study.recommended else None
    return {
        "seed": study.facts.seed,
        "study": study.name,
        "trial": None if best is None else best.trial_id,
        "config": config,
        "believed": None if best is None else _finite(best.score),
        "low": None if best is None else _finite(best.low),
        "high": None if best is None else _finite(best.high),
        "score": _average(values) if complete else None,
        "reason": "" if best is None else best.reason,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
