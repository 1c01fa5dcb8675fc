"""A leaderboard of 1,000 studies with 1,000,000 trace points: seconds and memory.

Beside it the same studies as live folders (journals of 1,000 points each), the slow way in, and
the report on them. Alone, for its peak of memory:
``pytest tests/bench/test_leaderboard.py -k report --benchmark-only --benchmark-json=report.json``
"""

from __future__ import annotations

import json
import resource
import time
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pytest_benchmark.fixture import BenchmarkFixture

from jobs_bench.report.build import build_report
from jobs_bench.report.collect import collect
from jobs_bench.report.leaderboard import build
from jobs_bench.report.references import freeze
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.store.codec import Event, recommendation_to_json
from jobs_bench.store.folder import Manifest, StudyFolder
from jobs_bench.store.journal import encode_line
from jobs_bench.strategy.contract import Recommendation

TASKS = tuple(f"task_{i}" for i in range(5))
METHODS = ("random", "sobol", "hyperband", "asha", "bo", "mf_bo", "jobs", "independent(bo)",
           "alternating(bo)", "data_only(bo)")  # fmt: skip
SEEDS, POINTS, BUDGET = 20, 1000, 25.0
DOMAINS = ("web", "books", "code")


def _study(task: str, method: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what was spent, the recommended score, and the final mixture."""
    rng = np.random.default_rng(zlib.crc32(f"{task}/{method}/{seed}".encode()))
    spent = np.sort(rng.uniform(0, BUDGET, POINTS))
    spent[0] = 0.0
    last = 0.6 + 0.02 * METHODS.index(method) + 0.03 * rng.standard_normal()
    score = np.maximum.accumulate(np.round(last - 0.2 * np.exp(-5 * spent / BUDGET), 4))
    return spent, score, rng.dirichlet(np.ones(len(DOMAINS)))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench")
    rows, traces = [], []
    for task in TASKS:
        for method in METHODS:
            for seed in range(SEEDS):
                spent, score, shares = _study(task, method, seed)
                name = f"{task}/{method}/{seed}"
                mixture = dict(zip(DOMAINS, shares.round(4).tolist(), strict=True))
                rows.append(
                    {
                        "study_id": name, "task": task, "task_signature": "s", "strategy": method,
                        "label": method, "seed": seed, "workers": 1, "budget": BUDGET,
                        "status": "finished", "reason": "", "believed": score[-1] + 0.01,
                        "believed_low": score[-1] - 0.03, "believed_high": score[-1] + 0.05,
                        "recommended": json.dumps({"mixture": mixture, "r": 8}),
                        "oracle": score[-1], "oracle_se": 0.005, "n_trials": 40, "n_full": 20,
                        "cost_train": 20.0, "cost_eval": 4.0, "cost_proxy": 0.0, "overhead_s": 1.0,
                        "virtual_s": 1.0, "versions": json.dumps({"jobs-bench": "0.1.0"}),
                    }
                )  # fmt: skip
                frame = {"study_id": name, "spent": spent, "time_s": spent, "score": score}
                traces.append(pd.DataFrame(frame))
    pd.DataFrame(rows).to_parquet(root / "studies.parquet", index=False)
    pd.concat(traces, ignore_index=True).to_parquet(root / "trace.parquet", index=False)
    said = {"suite": "test", "command": "jobs-bench bench --suite test --seeds 20"}
    (root / "bench.yaml").write_text(yaml.safe_dump(said), encoding="utf-8")
    freeze(collect([root]), root / "references")
    return root


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("live")
    for task in TASKS:
        for method in METHODS:
            for seed in range(SEEDS):
                _write_live(root / task / method / str(seed), task, method, seed)
    freeze(collect([root]), root / "references")
    return root


def _write_live(root: Path, task: str, method: str, seed: int) -> None:
    """Write a closed study of 20 full runs with 50 curve points each."""
    steps = tuple(range(1, 51))
    manifest = Manifest(
        task=task, strategy=method, model=None, seed=seed, budget="20x", workers=1,
        oracle_seeds=(1,), signature="s", metric="acc", higher_is_better=True, steps=steps,
        full_run_flop=1e9, versions={"jobs-bench": "0.1.0"},
    )  # fmt: skip
    folder = StudyFolder(root)
    folder.create(manifest, {})
    _, scores, shares = _study(task, method, seed)
    config = Configuration(
        {"mixture": Mixture(dict(zip(DOMAINS, shares.tolist(), strict=True))), "r": 8}
    )
    best = float(scores[-1])
    recommended = recommendation_to_json(Recommendation(config, best, best - 0.05, best + 0.05))
    events = [Event("started", manifest.facts())]
    for trial in range(20):
        points = [
            {"step": s, "score": [float(scores[50 * trial + s - 1]), 0.01, 50],
             "metrics": {"acc": [0.5, 0.01, 50]},
             "domain_losses": dict.fromkeys(DOMAINS, 2.5)}
            for s in steps
        ]  # fmt: skip
        segment = {"trial": trial, "config": config.to_json(), "start": 0, "until": 50, "seed": 1,
                   "parent": None}  # fmt: skip
        charges = [{"category": "train", "tok": 1000, "flop": 1e9}]
        outcome = {"segment": segment, "status": "ok", "points": points, "charges": charges}
        events.append(Event("finished", {**outcome, "error": ""}))
        events.append(Event("recommended", {**recommended, "spent": trial + 1.0}))
    events.append(Event("ended", {"reason": "done"}))
    final = {"step": 50, "score": [best, 0.01, 100], "metrics": {}, "domain_losses": {}}
    segment = {"trial": 0, "config": config.to_json(), "start": 0, "until": 50, "seed": 1,
               "parent": None}  # fmt: skip
    outcome = {"segment": segment, "status": "ok", "points": [final], "charges": [], "error": ""}
    run = {"who": "recommended", "config": config.to_json(), "seed": 1, "outcome": outcome}
    events += [Event("oracle", run), Event("closed", {})]
    folder.events.write_bytes(b"".join(encode_line(i, e) for i, e in enumerate(events)))


@pytest.mark.parametrize("how", ["bench", "live"])
def test_a_thousand_studies(
    benchmark: BenchmarkFixture, request: pytest.FixtureRequest, tmp_path: Path, how: str
) -> None:
    root: Path = request.getfixturevalue(how)
    began_s = time.process_time()
    built = benchmark.pedantic(build, ([root], tmp_path), rounds=1)
    cpu_s = time.process_time() - began_s
    assert built.excluded == ()
    assert built.boards[0].n_runs == len(TASKS) * len(METHODS) * SEEDS == 1000
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    benchmark.extra_info |= {"peak_gib": peak_kib / 2**20, "cpu_s": cpu_s, "points": 1000 * POINTS}


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
def test_report_on_a_thousand_studies(benchmark: BenchmarkFixture, live: Path, again: bool) -> None:
    """`jobs-bench report`: tables of every study, Markdown and HTML; then with tables as before."""
    if again:
        build_report(live)
    began_s = time.process_time()
    report = benchmark.pedantic(build_report, (live,), rounds=1)
    cpu_s = time.process_time() - began_s
    assert report.excluded == ()
    assert len(report.studies) == len(TASKS) * len(METHODS) * SEEDS == 1000
    points = pd.read_parquet(live / TASKS[0] / METHODS[0] / "0" / "derived" / "points.parquet")
    assert (points["metric"] == "score").sum() == POINTS
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    benchmark.extra_info |= {"peak_gib": peak_kib / 2**20, "cpu_s": cpu_s, "points": 1000 * POINTS}
