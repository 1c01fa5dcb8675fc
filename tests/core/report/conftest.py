"""Hand-made study folders: real journals, no runner, numbers chosen by the test."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from jobs_bench.budget import Charge, Ledger
from jobs_bench.report.collect import collect
from jobs_bench.report.references import freeze
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.store.codec import (
    Event,
    outcome_to_json,
    proposal_to_json,
    recommendation_to_json,
)
from jobs_bench.store.folder import Manifest, StudyFolder
from jobs_bench.store.journal import JournalWriter, Reading
from jobs_bench.strategy.contract import Recommendation
from jobs_bench.trial import Done, Outcome, Point, Segment, Start, Status, Value

MakeStudy = Callable[..., StudyFolder]
STEPS = (10, 40, 100)
FULL_RUN_FLOP = 1e8


def config(
    weights: Sequence[float] = (0.5, 0.5), domains: Sequence[str] = ("web", "books"), r: int = 8
) -> Configuration:
    mixture = Mixture(dict(zip(domains, weights, strict=True)))
    return Configuration({"mixture": mixture, "r": r, "method": "lora", "learning_rate": 2e-4})


def run_of(what: Configuration | None, seed: int, score: Value | None) -> Outcome:
    segment = Segment(0, what or Configuration(), 0, 0 if what is None else 100, seed)
    points = () if score is None else (Point(segment.until, score, {"acc": score}),)
    return Outcome(segment, "diverged" if score is None else "ok", points, ())


def make_study(
    root: Path,
    *,
    task: str = "toy",
    strategy: str = "random",
    model: str | None = None,
    seed: int = 0,
    budget: str = "4x",
    signature: str = "sig",
    metric: str = "acc",
    higher_is_better: bool = True,
    oracle: Sequence[float | None] = (0.5, 0.6),
    default: Sequence[float | None] = (0.4, 0.4),
    base: float = 0.25,
    se: float = 0.01,
    n_items: int = 100,
    scores: Sequence[float | None] = (0.3, 0.5, 0.45, 0.55),
    domains: Sequence[str] = ("web", "books"),
    until: str = "closed",
    error: str = "Traceback\nRuntimeError: loss is not finite",
) -> StudyFolder:
    """Write a study that ran each trial in full, one after the other; `None` scores failed.

    `until` cuts the journal off: ``started``, ``searching``, ``ended`` or ``closed``.
    """
    folder = StudyFolder(root)
    manifest = Manifest(
        task=task, strategy=strategy, model=model, seed=seed, budget=budget, workers=1,
        oracle_seeds=tuple(11 + i for i in range(len(oracle))), signature=signature, metric=metric,
        higher_is_better=higher_is_better, steps=STEPS, full_run_flop=FULL_RUN_FLOP,
        versions={"jobs-bench": "0.1.0"}, hardware={"cores": 2}, created="2026-01-01T00:00:00Z",
    )  # fmt: skip
    folder.create(manifest, {"data_dir": "/secret/place"})
    ledger = Ledger(FULL_RUN_FLOP)
    best: tuple[float, Configuration, int] | None = None
    events = [Event("started", manifest.facts())]

    def recommend() -> None:
        recommended = (
            Recommendation(config(domains=domains, weights=_even(domains)))
            if best is None
            else Recommendation(
                best[1], best[0], best[0] - 0.1, best[0] + 0.1, "best seen", best[2]
            )
        )
        events.append(
            Event(
                "recommended",
                {**recommendation_to_json(recommended), "spent": ledger.spent("x")},
            )
        )

    recommend()
    for i, score in enumerate(scores):
        chosen = config(_weights(i, len(domains)), domains, r=2 + i)
        asked: dict[str, Any] = {"ask": i, "idle": 1, "refused": []}
        events.append(
            Event("asked", {**asked, "proposals": [proposal_to_json(Start(chosen, 100))]})
        )
        status: Status = "diverged" if score is None else "ok"
        points = () if score is None else tuple(_point(s, score, se, domains) for s in STEPS)
        charges = (Charge("train", 1000, 0.9e8), Charge("eval", 100, 0.1e8))
        segment = Segment(i, chosen, 0, 100, 100 + i)
        outcome = Outcome(segment, status, points, charges, "" if score is not None else error)
        ledger.add(charges)
        events.append(Event("finished", outcome_to_json(outcome, seconds=False)))
        if score is not None and (best is None or score > best[0]):
            best = (score, chosen, i)
        recommend()
    asked = {"ask": len(scores), "idle": 1, "refused": []}
    events.append(Event("asked", {**asked, "proposals": [proposal_to_json(Done())]}))
    events.append(Event("ended", {"reason": "the strategy is done"}))
    plain = config(_even(domains), domains)
    wanted: list[tuple[str, Configuration | None, int, float | None]] = [
        ("base_model", None, 0, base)
    ]
    wanted += [("default", plain, 11 + i, s) for i, s in enumerate(default)]
    recommended = plain if best is None else best[1]
    wanted += [("recommended", recommended, 11 + i, s) for i, s in enumerate(oracle)]
    for who, what, oracle_seed, score in wanted:
        value = None if score is None else Value(score, se, n_items)
        payload = {
            "who": who,
            "config": None if what is None else what.to_json(),
            "seed": oracle_seed,
            "outcome": outcome_to_json(run_of(what, oracle_seed, value), seconds=False),
        }
        events.append(Event("oracle", payload))
    events.append(Event("closed", {}))
    types = [e.type for e in events]
    cut = {
        "started": 1,
        "searching": types.index("ended") - 1,
        "ended": types.index("ended") + 1,
        "closed": len(events),
    }[until]
    write_events(folder, events[:cut])
    return folder


def write_events(folder: StudyFolder, events: Sequence[Event]) -> None:
    folder.events.unlink(missing_ok=True)
    with JournalWriter(folder.events, Reading((), 0, 0), sync=False) as journal:
        journal.append(events)


def _even(domains: Sequence[str]) -> list[float]:
    return [1 / len(domains)] * len(domains)


def _weights(i: int, k: int) -> list[float]:
    raw = [1 + (i + j) % k for j in range(k)]
    return [w / sum(raw) for w in raw]


def _point(step: int, score: float, se: float, domains: Sequence[str]) -> Point:
    value = Value(score - 1 / step + 0.01, se, 50)
    return Point(step, value, {"acc": value}, dict.fromkeys(domains, 2.0))


@pytest.fixture(name="make_study")
def _make_study() -> MakeStudy:
    return make_study


@pytest.fixture(name="write_events")
def _write_events() -> Callable[[StudyFolder, Sequence[Event]], None]:
    return write_events


MakeBench = Callable[..., Path]
TASKS = ("pocket_a", "pocket_b", "pocket_c", "pocket_d", "pocket_e")
METHODS = {"random": 0.30, "hyperband": 0.50, "bo": 0.60, "independent(bo)": 0.45}


def study_frames(
    methods: Mapping[str, float],
    tasks: Sequence[str] = TASKS,
    seeds: int = 6,
    points: int = 12,
    noise: float = 0.03,
    budget: float = 25.0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the frames of a bench: a method's runs depend on its name, task and seed alone."""
    rows, traces = [], []
    for task in tasks:
        for method, quality in methods.items():
            for seed in range(seeds):
                rng = np.random.default_rng(zlib.crc32(f"{task}/{method}/{seed}".encode()))
                oracle = 0.5 + 0.3 * quality + noise * float(rng.standard_normal())
                spent = np.sort(np.append(0.0, rng.uniform(0, budget, points - 1)))
                score = np.round(oracle - 0.2 * np.exp(-4 * spent / budget), 6)
                score[-1] = oracle
                mixture = dict(zip(("web", "books"), rng.dirichlet([3, 1]).round(6), strict=True))
                name = f"{task}/{method}/{seed}"
                rows.append(
                    {
                        "study_id": name, "task": task, "task_signature": f"sig-{task}",
                        "strategy": method, "label": method, "seed": seed, "workers": 1,
                        "budget": budget, "status": "finished", "reason": "",
                        "recommended": json.dumps({"mixture": mixture, "r": 8}),
                        "believed": oracle + 0.02, "believed_low": oracle - 0.05,
                        "believed_high": oracle + 0.05, "oracle": oracle, "oracle_se": 0.005,
                        "n_trials": 30, "n_full": 20, "cost_train": 20.0, "cost_eval": 4.0,
                        "cost_proxy": 0.5, "overhead_s": 0.25, "virtual_s": 100.0,
                        "versions": json.dumps({"jobs-bench": "0.1.0"}),
                    }
                )  # fmt: skip
                frame = {"study_id": name, "spent": spent, "time_s": spent, "score": score}
                traces.append(pd.DataFrame(frame))
    return pd.DataFrame(rows), pd.concat(traces, ignore_index=True)


def write_bench(root: Path, studies: pd.DataFrame, trace: pd.DataFrame, **facts: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    studies.to_parquet(root / "studies.parquet", index=False)
    trace.to_parquet(root / "trace.parquet", index=False)
    said = {"suite": "test", "command": "jobs-bench bench --suite test", **facts}
    (root / "bench.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    return root


@pytest.fixture(name="study_frames")
def _study_frames() -> Callable[..., tuple[pd.DataFrame, pd.DataFrame]]:
    return study_frames


@pytest.fixture(name="write_bench")
def _write_bench() -> MakeBench:
    return write_bench


@pytest.fixture(scope="session")
def references(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """References of the five tasks, frozen once from a bench of their own."""
    root = write_bench(tmp_path_factory.mktemp("frozen"), *study_frames(METHODS, seeds=9))
    freeze(collect([root]), root / "references")
    return root / "references"
