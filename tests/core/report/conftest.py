"""Hand-made study folders: real journals, no runner, numbers chosen by the test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs_bench.budget import Charge, Ledger
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
