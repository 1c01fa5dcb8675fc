"""Points of a learning curve that the journal reader takes in, beside plain ``json``."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from jobs_bench.store.codec import Event
from jobs_bench.store.journal import encode_line, read

SEGMENTS, POINTS = 2000, 50


def _segment(trial: int, rng: random.Random) -> Event:
    points = [
        {
            "step": step,
            "score": [rng.random(), rng.random() / 100, 50],
            "metrics": {"acc": [rng.random(), 0.01, 50], "gold_bpb": [rng.random(), 0.01, 50]},
            "domain_losses": {domain: rng.random() for domain in ("web", "books", "code")},
        }
        for step in range(POINTS)
    ]
    config = {"mixture": {"web": 0.3, "books": 0.3, "code": 0.4}, "r": 8, "learning_rate": 2e-4}
    segment = {"trial": trial, "config": config, "start": 0, "until": POINTS, "seed": 1}
    outcome = {"segment": segment, "status": "ok", "points": points, "charges": [], "error": ""}
    return Event("finished", outcome)


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    rng = random.Random(0)
    lines = (encode_line(i, _segment(i, rng)) for i in range(SEGMENTS))
    path.write_bytes(b"".join(lines))
    return path


def _plain(path: Path) -> int:
    """Parse the lines and check nothing: what any reader in pure Python needs at least."""
    return sum(len(json.loads(x)["payload"]["points"]) for x in path.read_bytes().splitlines())


def _read(path: Path) -> int:
    """Read the journal and decode every payload, one after the other, as a report does."""
    return sum(len(event.payload["points"]) for event in read(path).events)


@pytest.mark.parametrize("how", ["read", "json"])
def test_reading(benchmark: BenchmarkFixture, journal: Path, how: str) -> None:
    cpu: list[float] = []

    def reading() -> int:
        began_s = time.process_time()
        points = (_read if how == "read" else _plain)(journal)
        cpu.append(time.process_time() - began_s)
        return points

    assert benchmark(reading) == SEGMENTS * POINTS
    benchmark.extra_info["points_per_cpu_s"] = SEGMENTS * POINTS / min(cpu)
    if benchmark.stats is not None:
        best_s = benchmark.stats.stats.min
        benchmark.extra_info["points_per_s"] = SEGMENTS * POINTS / best_s
