"""Studies of any origin in one form: a row each, a trace each, and a list of what was left out.

Bench folders (thousands of simulated studies in three files) and live study folders both become
`Runs`; everything a leaderboard shows is computed from that.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from jobs_bench.report.board import Exclusion
from jobs_bench.runner.bench import NOT_APPLICABLE

Floats = NDArray[np.float64]

FINISHED = "finished"
"""Status of a study that may be scored; bench folders may also say ``ok`` or ``closed``."""

_FINISHED_WORDS = frozenset({FINISHED, "ok", "closed"})

TEXT_COLUMNS = (
    "study_id", "task", "task_signature", "strategy", "label", "status", "reason", "recommended",
    "versions",
)  # fmt: skip
NUMBER_COLUMNS = (
    "seed", "workers", "budget", "believed", "believed_low", "believed_high", "oracle", "oracle_se",
    "n_trials", "n_full", "cost_train", "cost_eval", "cost_proxy", "overhead_s", "virtual_s",
)  # fmt: skip
STUDY_COLUMNS = TEXT_COLUMNS + NUMBER_COLUMNS
REQUIRED_COLUMNS = (
    "study_id", "task", "task_signature", "strategy", "seed", "budget", "status", "oracle",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trace:
    """The recommended score over what was spent, a step function (see `stats.steps`).

    Attributes:
        spent: Full-run equivalents, `(n,)`, not decreasing.
        score: Oracle score from then on, `(n,)`, NaN where no oracle has judged it.
    """

    spent: Floats
    score: Floats


@dataclass(frozen=True, slots=True)
class Recommended:
    """What a study recommended after spending so much, as a JSON configuration."""

    spent: float
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One study.

    Attributes:
        study_id: Unique among the runs of a report.
        task: Task, and model where it is not the task's own.
        signature: Of the task.
        strategy: Strategy spec.
        label: Name of its row; the spec unless the bench says otherwise.
        seed: Study seed.
        workers: Segments that could run at the same time.
        budget: Full-run equivalents.
        status: ``finished`` when it may be scored.
        reason: Why not, else empty.
        oracle: Oracle score of the final recommendation, NaN where there is none.
        oracle_se: Its standard error, NaN where unknown.
        believed: Score that the strategy expected, with the ends of its interval; NaN: not given.
        trials: Trials and full runs, NaN where unknown.
        cost: Full-run equivalents for training, evaluation and proxies, NaN where unknown.
        overhead_s: Seconds the strategy took, NaN where unknown.
        virtual_s: Length of the study on the virtual clock, NaN where there was none.
        recommended: The final recommendation.
        versions: Of everything that ran.
        command: What runs it again, empty where unknown.
        source: Where it was found, below the root of the report.
        trace: Its trace.
        history: Recommendations over the budget, where they were recorded.
        rungs: Scores ``(trial, step, score)`` of its trials, `(n, 3)`, where they were recorded.
    """

    study_id: str
    task: str
    signature: str
    strategy: str
    label: str
    seed: int
    workers: int
    budget: float
    status: str
    reason: str
    oracle: float
    oracle_se: float
    believed: tuple[float, float, float]
    trials: tuple[float, float]
    cost: tuple[float, float, float]
    overhead_s: float
    virtual_s: float
    recommended: Mapping[str, Any]
    versions: Mapping[str, str]
    command: str
    source: str
    trace: Trace
    history: Sequence[Recommended] = ()
    rungs: Floats | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Return what pairs it with runs of other methods: (task, seed)."""
        return self.task, self.seed


@dataclass(frozen=True, slots=True)
class Bench:
    """Facts of a bench folder: its path below the root and what ``bench.yaml`` says."""

    source: str
    facts: Mapping[str, Any]

    @property
    def suite(self) -> str:
        """Return the name of its suite, empty where it has none."""
        suite = self.facts.get("suite") or ""
        return str(suite.get("name") or "") if isinstance(suite, Mapping) else str(suite)

    @property
    def command(self) -> str:
        """Return the command that made it, empty where unknown."""
        command = self.facts.get("command") or ""
        return command if isinstance(command, str) else shlex.join(map(str, command))


@dataclass(frozen=True, slots=True)
class Runs:
    """All that was found.

    Attributes:
        runs: Ordered by task, label, seed and name.
        excluded: What cannot be scored whatever it is compared with.
        benches: The bench folders among the sources.
        unable: Studies whose strategy cannot be run on their task, ordered like `runs`.
    """

    runs: tuple[Run, ...]
    excluded: tuple[Exclusion, ...] = ()
    benches: tuple[Bench, ...] = field(default=())
    unable: tuple[Run, ...] = ()


def sift(runs: Sequence[Run], excluded: Sequence[Exclusion], benches: Sequence[Bench]) -> Runs:
    """Return the runs that can be scored, and the others with the reason.

    What is judged here is the run itself: it finished, it has a finite oracle score, its budget is
    a positive number, its trace goes forward.
    """
    kept, unable, left_out = [], [], list(excluded)
    for run in sorted(runs, key=lambda r: (r.task, r.label, r.seed, r.study_id)):
        problem = _problem(run)
        if run.status == NOT_APPLICABLE:
            unable.append(run)
        elif problem:
            left_out.append(left(run, problem))
        else:
            kept.append(run)
    excluded = sorted(left_out, key=lambda e: e.study)
    return Runs(tuple(kept), tuple(excluded), tuple(benches), tuple(unable))


def left(run: Run, reason: str) -> Exclusion:
    """Return the run as one that is left out."""
    return Exclusion(run.study_id, reason, run.task, None, run.label, run.seed)


def is_finished(status: str) -> bool:
    """Return whether a status means that the study came to its end."""
    return status in _FINISHED_WORDS


def _problem(run: Run) -> str:
    if not is_finished(run.status):
        return f"{run.status}: {run.reason or 'no reason given'}"
    if not math.isfinite(run.oracle):
        return f"its oracle score is {'missing' if math.isnan(run.oracle) else run.oracle}"
    if not (math.isfinite(run.budget) and run.budget > 0):
        return f"got a budget of {run.budget}; wanted full-run equivalents above 0"
    if np.isnan(run.trace.spent).any() or (np.diff(run.trace.spent) < 0).any():
        return "its trace does not go forward in what was spent"
    if np.isinf(run.trace.score).any():
        return "its trace holds an infinite score"
    if any(math.isinf(c) or c < 0 for c in run.cost):
        return f"got the costs {run.cost}; wanted finite numbers of at least 0"
    return ""


def from_frames(
    studies: pd.DataFrame, traces: pd.DataFrame, facts: Mapping[str, Any], source: str = ""
) -> list[Run]:
    """Return the runs of the frames of a bench folder.

    Args:
        studies: One row a study with `REQUIRED_COLUMNS` and any other of `STUDY_COLUMNS`.
        traces: ``study_id, spent, score`` and perhaps ``config`` (JSON).
        facts: Of the bench; its command and versions stand in where a study has none.
        source: Where it was found; goes in front of the ids where it is not empty.

    Raises:
        ValueError: A required column is missing.
    """
    lacking = [c for c in REQUIRED_COLUMNS if c not in studies.columns]
    lacking += [c for c in ("study_id", "spent", "score") if c not in traces.columns]
    if lacking:
        raise ValueError(f"lacks the columns {', '.join(dict.fromkeys(lacking))}")
    by_study = _split(traces)
    columns = {
        name: studies[name].to_numpy(dtype=object) if name in studies.columns else None
        for name in STUDY_COLUMNS
    }
    runs = []
    for i in range(len(studies)):
        row = {name: None if c is None else c[i] for name, c in columns.items()}
        runs.append(_run(row, by_study, facts, source))
    return runs


def _split(traces: pd.DataFrame) -> dict[str, tuple[Trace, list[Recommended]]]:
    """Return the trace of each study; rows of a study keep their order."""
    codes, names = pd.factorize(traces["study_id"])
    order = np.argsort(codes, kind="stable")
    spent = traces["spent"].to_numpy(dtype=np.float64)[order]
    score = traces["score"].to_numpy(dtype=np.float64)[order]
    configs = traces["config"].to_numpy(dtype=object)[order] if "config" in traces else None
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    found = {}
    for name, start, end in zip(names, [0, *ends[:-1]], ends, strict=False):
        history = []
        if configs is not None:
            parts = zip(spent[start:end], configs[start:end], strict=True)
            history = [Recommended(float(s), c) for s, text in parts if (c := _object(text))]
        found[str(name)] = (Trace(spent[start:end], score[start:end]), history)
    return found


def _run(
    row: Mapping[str, Any],
    by_study: Mapping[str, tuple[Trace, list[Recommended]]],
    facts: Mapping[str, Any],
    source: str,
) -> Run:
    name = _text(row["study_id"])
    oracle = _number(row["oracle"])
    cost = tuple(_number(row[c]) for c in _COSTS)
    spent = sum(cost) if math.isfinite(sum(cost)) else _number(row["budget"])
    trace, history = by_study.get(name, (Trace(np.array([spent]), np.array([oracle])), []))
    recommended = _object(row["recommended"])
    if not history and recommended:
        history = [Recommended(float(trace.spent[-1]) if len(trace.spent) else 0.0, recommended)]
    strategy = _text(row["strategy"])
    return Run(
        study_id=f"{source}/{name}" if source else name,
        task=_text(row["task"]),
        signature=_text(row["task_signature"]),
        strategy=strategy,
        label=_text(row["label"]) or strategy,
        seed=int(row["seed"]),
        workers=_whole(row["workers"], 1),
        budget=_number(row["budget"]),
        status=_text(row["status"]),
        reason=_text(row["reason"]),
        oracle=oracle,
        oracle_se=_number(row["oracle_se"]),
        believed=(
            _number(row["believed"]),
            _number(row["believed_low"]),
            _number(row["believed_high"]),
        ),
        trials=(_number(row["n_trials"]), _number(row["n_full"])),
        cost=(cost[0], cost[1], cost[2]),
        overhead_s=_number(row["overhead_s"]),
        virtual_s=_number(row["virtual_s"]),
        recommended=recommended,
        versions=_versions(row["versions"], facts),
        command=Bench(source, facts).command,
        source=source,
        trace=trace,
        history=history,
    )


_COSTS = ("cost_train", "cost_eval", "cost_proxy")


def _text(value: object) -> str:
    return "" if value is None or value is pd.NA or value != value else str(value)


def _number(value: Any) -> float:
    return math.nan if value is None or value is pd.NA else float(value)


def _whole(value: Any, default: int) -> int:
    number = _number(value)
    return default if math.isnan(number) else int(number)


def _object(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    text = _text(value)
    if not text:
        return {}
    found = json.loads(text)
    return found if isinstance(found, dict) else {}


def _versions(value: object, facts: Mapping[str, Any]) -> dict[str, str]:
    found = _object(value) or facts.get("versions") or {}
    return {str(k): str(v) for k, v in found.items()}
