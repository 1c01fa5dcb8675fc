"""Who stands where: runs on the frozen scale, a row a method, a board a budget and worker count.

Whether a run counts depends on the run, its own method and the frozen references. So does every
number of a row but its rank.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from jobs_bench.report.board import Exclusion
from jobs_bench.report.references import ReferenceFile
from jobs_bench.report.runs import Bench, Run, Runs, left
from jobs_bench.stats import steps
from jobs_bench.stats.bootstrap import Estimate, iqm_estimate
from jobs_bench.stats.calibration import Calibration, calibration
from jobs_bench.stats.cost import Cost, mean_cost
from jobs_bench.stats.interaction import InteractionGain, interaction_gains
from jobs_bench.stats.normalise import Reference
from jobs_bench.stats.profiles import Profile, profile
from jobs_bench.stats.ranks import mean_ranks
from jobs_bench.stats.rungs import RungCorrelation, rung_correlation
from jobs_bench.stats.significance import Significance, significance
from jobs_bench.stats.targets import TimeToTarget, time_to_target

Floats = NDArray[np.float64]

TARGETS = (50.0, 90.0)
GRID_POINTS = 49
MAX_RUNGS = 8
THRESHOLDS = np.arange(-50.0, 122.0, 2.0)


@dataclass(frozen=True, slots=True)
class Band:
    """A value with its interval along a grid, each `(n,)`; NaN where unknown."""

    grid: Floats
    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Standing:
    """One row: what is known of a method under one budget.

    Attributes:
        method: Label of the row.
        strategy: Strategy spec behind it.
        runs: Its runs, ordered by task and seed.
        counts: Runs of each of its tasks.
        missing: Tasks of the board that it has no run on.
        score: Interquartile mean of the normalised scores.
        area: Interquartile mean of the areas under the normalised traces, ``None`` when a trace
            is not known from the start.
        per_task: Mean normalised score on each of its tasks.
        rank: Mean rank, ``None`` where tasks are missing or nobody is there to rank against.
        times: Time to each of `TARGETS`.
        cost: What the budget went into.
        trace: Interquartile mean of the normalised traces over the budget.
        profile: Performance profile.
        calibration: Beliefs against the oracle, on the normalised scale.
        left_out: Its studies that count nowhere.
        versions: Of everything that ran, the same for all its runs.
        commands: What runs it again.
    """

    method: str
    strategy: str
    runs: tuple[Run, ...]
    counts: tuple[int, ...]
    missing: tuple[str, ...]
    score: Estimate
    area: Estimate | None
    per_task: Mapping[str, float]
    rank: Estimate | None
    times: Mapping[float, TimeToTarget]
    cost: Cost
    trace: Band
    profile: Profile
    calibration: Calibration
    left_out: int
    versions: Mapping[str, str]
    commands: tuple[str, ...]

    @property
    def tasks(self) -> int:
        """Return on how many tasks it ran."""
        return len(self.counts)


@dataclass(frozen=True, slots=True)
class Unable:
    """A method that cannot be run on some tasks of a board, and why: in no number."""

    method: str
    tasks: tuple[str, ...]
    studies: int
    reason: str


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Everything known under one budget, with one number of workers.

    Attributes:
        budget: Full-run equivalents of each study.
        workers: Segments that could run at the same time.
        benches: The bench folders among the sources.
        references: The frozen scale of each task.
        standings: Complete methods first, best first.
        significance: Test of the complete methods against each other.
        gains: Interaction gains.
        rungs: Rank correlation of rungs for each task that recorded them, with its steps.
        unable: Methods that are not applicable to some task.
    """

    budget: float
    workers: int
    benches: tuple[Bench, ...]
    references: Mapping[str, Reference]
    standings: tuple[Standing, ...]
    significance: Significance
    gains: tuple[InteractionGain, ...]
    rungs: Mapping[str, tuple[tuple[int, ...], RungCorrelation]] = field(default_factory=dict)
    unable: tuple[Unable, ...] = ()

    @property
    def title(self) -> str:
        """Return suite and budget in a line."""
        suites = sorted({b.suite for b in self.benches if b.suite})
        n = len(self.references)
        what = ", ".join(suites) or f"{n} task{'s' if n != 1 else ''}"
        many = f", {self.workers} workers" if self.workers != 1 else ""
        return f"{what} at {self.budget:g}x{many}"

    @property
    def methods(self) -> list[str]:
        """Return the labels in a fixed order, which colours follow."""
        return sorted(s.method for s in self.standings)

    @property
    def n_runs(self) -> int:
        """Return how many studies count."""
        return sum(len(s.runs) for s in self.standings)


def leaderboards(
    runs: Runs, references: Mapping[str, ReferenceFile]
) -> tuple[list[Leaderboard], list[Exclusion]]:
    """Return the leaderboards, and every study that counts nowhere with its reason."""
    excluded = list(runs.excluded)
    scaled: dict[tuple[float, int], list[Run]] = {}
    for run in runs.runs:
        problem = _scaleless(run, references)
        if problem:
            excluded.append(left(run, problem))
        else:
            scaled.setdefault((run.budget, run.workers), []).append(run)
    chosen: dict[tuple[float, int], dict[str, list[Run]]] = {}
    for place, found in sorted(scaled.items()):
        chosen[place] = {}
        for label in sorted({r.label for r in found}):
            kept, out = _alike([r for r in found if r.label == label])
            excluded += out
            chosen[place][label] = kept
    out_of = Counter(e.strategy for e in excluded)
    boards = []
    for (budget, workers), methods in chosen.items():
        tasks = sorted({r.task for found in methods.values() for r in found})
        scales = {t: s for t in tasks if (s := references[t].at(budget)) is not None}
        unable = _unable([r for r in runs.unable if (r.budget, r.workers) == (budget, workers)])
        boards.append(_board(budget, workers, runs.benches, scales, methods, out_of, unable))
    excluded += [
        left(r, f"{r.status}: {r.reason}")
        for r in runs.unable
        if (r.budget, r.workers) not in chosen  # a place without any result has no board
    ]
    return boards, sorted(excluded, key=lambda e: e.study)


def _unable(runs: Sequence[Run]) -> tuple[Unable, ...]:
    grouped: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        grouped.setdefault((run.label, run.reason), []).append(run)
    return tuple(
        Unable(method, tuple(sorted({r.task for r in found})), len(found), reason)
        for (method, reason), found in sorted(grouped.items())
    )


def _scaleless(run: Run, references: Mapping[str, ReferenceFile]) -> str:
    """Return why a run is on no frozen scale, or an empty text."""
    file = references.get(run.task)
    if file is None:
        return f"no frozen reference for {run.task}; jobs-bench leaderboard freeze makes one"
    if run.signature != file.signature:
        return (
            f"task signature {run.signature or 'missing'}; the references of {run.task} are of "
            f"{file.signature}"
        )
    if run.budget not in file.random_median:
        known = ", ".join(f"{b:g}x" for b in file.random_median)
        return f"budget {run.budget:g}x; the references of {run.task} know {known}"
    return ""


def _alike(runs: list[Run]) -> tuple[list[Run], list[Exclusion]]:
    """Keep the largest set of one method's runs under the same conditions, each seed once."""
    counted = Counter(_conditions(r) for r in runs)
    most = max(counted, key=lambda c: (counted[c], c))
    kept: dict[tuple[str, int], Run] = {}
    excluded = []
    for run in runs:
        have = _conditions(run)
        if have != most:
            excluded.append(left(run, _difference(have, most)))
        elif run.key in kept:
            first = kept[run.key].study_id
            excluded.append(left(run, f"seed {run.seed} on {run.task} is there already: {first}"))
        else:
            kept[run.key] = run
    return [kept[k] for k in sorted(kept)], excluded


def _conditions(run: Run) -> tuple[str, str]:
    return run.strategy, json.dumps(dict(run.versions), sort_keys=True)


def _difference(have: tuple[str, str], most: tuple[str, str]) -> str:
    said = []
    if have[0] != most[0]:
        said.append(f"strategy {have[0]}, not {most[0]}")
    if have[1] != most[1]:
        mine, theirs = json.loads(have[1]), json.loads(most[1])
        differ = sorted(k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k))
        said += [f"{k} {mine.get(k, 'absent')}, not {theirs.get(k, 'absent')}" for k in differ]
    return f"not like most studies of its method: {'; '.join(said)}"


def _board(
    budget: float,
    workers: int,
    benches: tuple[Bench, ...],
    scales: Mapping[str, Reference],
    methods: Mapping[str, list[Run]],
    out_of: Mapping[str, int],
    unable: tuple[Unable, ...],
) -> Leaderboard:
    complete = [m for m, found in methods.items() if {r.task for r in found} == set(scales)]
    ranks = _ranks(scales, methods, complete)
    standings = [
        _standing(method, found, budget, scales, ranks.get(method), out_of.get(method, 0))
        for method, found in methods.items()
    ]
    standings.sort(key=lambda s: (len(s.missing) > 0, -s.score.value, s.method))
    return Leaderboard(
        budget=budget,
        workers=workers,
        benches=benches,
        references=scales,
        standings=tuple(standings),
        significance=_significance(scales, methods, complete),
        gains=_gains(scales, methods),
        rungs=_rungs(methods),
        unable=unable,
    )


def _standing(
    method: str,
    runs: list[Run],
    budget: float,
    scales: Mapping[str, Reference],
    rank: Estimate | None,
    left_out: int,
) -> Standing:
    tasks = list(dict.fromkeys(r.task for r in runs))
    counts = tuple(sum(r.task == t for r in runs) for t in tasks)
    values = normalised([r.oracle for r in runs], runs, scales)
    grid = np.linspace(0.0, budget, GRID_POINTS)
    traces = [(r.trace.spent, scales[r.task].normalise(r.trace.score)) for r in runs]
    areas = np.array([steps.mean_over(x, y, 0.0, budget) for x, y in traces])
    at_grid = np.stack([steps.at(x, y, grid) for x, y in traces])
    return Standing(
        method=method,
        strategy=runs[0].strategy,
        runs=tuple(runs),
        counts=counts,
        missing=tuple(t for t in scales if t not in tasks),
        score=iqm_estimate(values, counts),
        area=iqm_estimate(areas, counts) if np.isfinite(areas).all() else None,
        per_task={
            t: float(values[[r.task == t for r in runs]].mean()) for t in scales if t in tasks
        },
        rank=rank,
        times={t: _time_to(traces, t, budget) for t in TARGETS},
        cost=mean_cost(
            np.array([r.cost[0] for r in runs]),
            np.array([r.cost[1] for r in runs]),
            np.array([r.cost[2] for r in runs]),
            np.array([r.overhead_s for r in runs]),
        ),
        trace=_band(grid, at_grid, counts),
        profile=profile(values, counts, THRESHOLDS),
        calibration=_calibration(runs, values, scales),
        left_out=left_out,
        versions=runs[0].versions,
        commands=tuple(sorted({r.command for r in runs if r.command})),
    )


def normalised(
    scores: Sequence[float], runs: Sequence[Run], scales: Mapping[str, Reference]
) -> Floats:
    """Return scores of runs on the scales of their tasks."""
    parts = zip(scores, runs, strict=True)
    return np.array([float(scales[r.task].normalise(np.array(s))) for s, r in parts])


def _time_to(traces: list[tuple[Floats, Floats]], target: float, budget: float) -> TimeToTarget:
    times = np.array([steps.time_to(x, y, target) for x, y in traces])
    return time_to_target(times, np.full(len(times), budget))


def _band(grid: Floats, at_grid: Floats, counts: tuple[int, ...]) -> Band:
    """Return the interquartile mean along the grid, from where every run is known."""
    found = np.full((3, len(grid)), math.nan)
    last: tuple[bytes, Estimate] | None = None
    for g in range(len(grid)):
        column = at_grid[:, g]
        if not np.isfinite(column).all():
            continue
        key = column.tobytes()
        if last is None or last[0] != key:
            last = (key, iqm_estimate(column, counts))
        found[:, g] = last[1].value, last[1].low, last[1].high
    return Band(grid, found[0], found[1], found[2])


def _calibration(
    runs: Sequence[Run], values: Floats, scales: Mapping[str, Reference]
) -> Calibration:
    believed, low, high = (
        normalised([r.believed[i] for r in runs], runs, scales) for i in range(3)
    )
    return calibration(believed, low, high, values)


def _ranks(
    scales: Mapping[str, Reference], methods: Mapping[str, list[Run]], complete: list[str]
) -> dict[str, Estimate]:
    if len(complete) < 2:
        return {}
    by_task = [
        {m: np.array([r.oracle for r in methods[m] if r.task == t]) for m in complete}
        for t in scales
    ]
    return mean_ranks(by_task, [s.noise_floor for s in scales.values()], complete)


def _significance(
    scales: Mapping[str, Reference], methods: Mapping[str, list[Run]], complete: list[str]
) -> Significance:
    by_task = [
        {m: {r.seed: r.oracle for r in methods[m] if r.task == t} for m in complete} for t in scales
    ]
    return significance(by_task, [s.noise_floor for s in scales.values()], complete)


def _gains(
    scales: Mapping[str, Reference], methods: Mapping[str, list[Run]]
) -> tuple[InteractionGain, ...]:
    scores: dict[str, dict[tuple[str, int], float]] = {}
    for found in methods.values():
        values = normalised([r.oracle for r in found], found, scales)
        pairs = {r.key: float(v) for r, v in zip(found, values, strict=True)}
        scores.setdefault(found[0].strategy, pairs)  # of two rows with one spec, the first
    return tuple(interaction_gains(scores, {t: s.tie for t, s in scales.items()}))


def _rungs(
    methods: Mapping[str, list[Run]],
) -> dict[str, tuple[tuple[int, ...], RungCorrelation]]:
    by_task: dict[str, list[Floats]] = {}
    for found in methods.values():
        for run in found:
            if run.rungs is not None and len(run.rungs):
                by_task.setdefault(run.task, []).append(run.rungs)
    made = {}
    for task, studies in sorted(by_task.items()):
        measured = sorted({int(s) for study in studies for s in np.unique(study[:, 1])})
        shown = _spread(measured)
        made[task] = (shown, rung_correlation(_curves(studies, shown)))
    return made


def _spread(measured: Sequence[int]) -> tuple[int, ...]:
    """Return at most `MAX_RUNGS` of the steps, about equal factors apart, first and last kept."""
    at = np.geomspace(1, len(measured), min(MAX_RUNGS, len(measured)))
    return tuple(measured[i] for i in np.unique(np.round(at).astype(int)) - 1)


def _curves(studies: list[Floats], shown: tuple[int, ...]) -> Floats:
    """Return scores `(trials, steps)`; trials of different studies are different trials."""
    rows = []
    for study in studies:
        points = study[np.isin(study[:, 1], shown)]
        trials, index = np.unique(points[:, 0], return_inverse=True)
        curves = np.full((len(trials), len(shown)), math.nan)
        curves[index, np.searchsorted(shown, points[:, 1])] = points[:, 2]
        rows.append(curves)
    return np.concatenate(rows)
