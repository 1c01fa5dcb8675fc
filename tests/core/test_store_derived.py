from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from jobs_bench.budget import Charge
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.store.codec import (
    Event,
    outcome_to_json,
    proposal_to_json,
    recommendation_to_json,
)
from jobs_bench.store.derived import TABLES, derive, tables, write
from jobs_bench.store.folder import Manifest, StudyFolder
from jobs_bench.store.journal import JournalWriter, Reading
from jobs_bench.strategy.contract import Recommendation
from jobs_bench.trial import Outcome, Point, Resume, Retire, Segment, Start, Status, Value

MANIFEST = Manifest(
    task="toy?horizon=20", strategy="asha", model="tiny", seed=3, budget="4x", workers=1,
    oracle_seeds=(11,), signature="sig", metric="acc", higher_is_better=True, steps=(10, 20),
    full_run_flop=2e6,
)  # fmt: skip
WEB = Configuration(
    {
        "mixture": Mixture({"web": 0.25, "books": 0.75}),
        "r": 8,
        "target_modules": ("attention", "mlp"),
        "learning_rate": 1e-3,
        "step": 5,
    }
)
IA3 = Configuration({"mixture": Mixture({"web": 1.0, "books": 0.0}), "method": "ia3"})


def finished(
    trial: int, config: Configuration, start: int, until: int, score: float, status: Status = "ok"
) -> Event:
    value = Value(score, 0.1, 50)
    point = Point(until, value, {"acc": value, "bpb": Value(2.0)}, {"web": 1.5})
    charges = (Charge("train", 100, 0.9e6), Charge("eval", 10, 0.1e6))
    points = (point,) if status == "ok" else ()
    outcome = Outcome(Segment(trial, config, start, until, 7), status, points, charges, "")
    return Event("finished", outcome_to_json(outcome, seconds=False))


def asked(number: int, *proposals: Start | Resume | Retire) -> Event:
    payload = {"ask": number, "idle": 1, "refused": []}
    return Event("asked", {**payload, "proposals": [proposal_to_json(p) for p in proposals]})


def events() -> list[Event]:
    recommended = recommendation_to_json(Recommendation(WEB, 0.5, reason="best", trial_id=0))
    oracle = Outcome(Segment(0, WEB, 0, 20, 11), "ok", (Point(20, Value(0.4, 0.05, 200)),), ())
    lost = Outcome(Segment(0, WEB, 0, 20, 12), "lost", (), ())
    return [
        Event("started", MANIFEST.facts()),
        asked(0, Start(WEB, 10)),
        finished(0, WEB, 0, 10, 0.3),
        asked(1, Start(IA3, 10)),
        finished(1, IA3, 0, 10, math.nan, "oom"),
        asked(2, Resume(0, 20), Retire(1)),
        finished(0, WEB, 10, 20, 0.5),
        Event("recommended", {**recommended, "spent": 1.5}),
        Event("ended", {"reason": "done"}),
        *(
            Event("oracle", {"who": "recommended", "config": WEB.to_json(), "seed": o.segment.seed,
                             "outcome": outcome_to_json(o, seconds=False)})
            for o in (oracle, lost)
        ),
    ]  # fmt: skip


@pytest.fixture(name="frames")
def _frames() -> dict[str, pd.DataFrame]:
    return tables(MANIFEST, events())


def test_shares_of_a_controlled_trial_are_points() -> None:
    point = Point(10, Value(0.3), shares={"web": 0.75, "books": 0.25})
    outcome = Outcome(Segment(0, WEB, 0, 10, 7, controller="odm"), "ok", (point,), ())
    told = Event("finished", outcome_to_json(outcome, seconds=False))
    points = tables(MANIFEST, [Event("started", MANIFEST.facts()), asked(0, Start(WEB, 10)), told])[
        "points"
    ].set_index("metric")
    assert points["mean"].filter(like="share.").to_dict() == {
        "share.web": 0.75,
        "share.books": 0.25,
    }


def test_every_table_says_which_study(frames: dict[str, pd.DataFrame]) -> None:
    assert tuple(frames) == TABLES
    for frame in frames.values():
        assert list(frame.columns[:4]) == ["study", "strategy", "task", "seed"]
        first = frame.iloc[0]
        assert first["study"] == "toy?horizon=20-tiny/asha/seed-3"
        assert (first["strategy"], first["task"], first["seed"]) == ("asha", "toy?horizon=20", 3)


def test_trials(frames: dict[str, pd.DataFrame]) -> None:
    trials = frames["trials"]
    assert list(trials["trial"]) == [0, 1]
    assert list(trials["segments"]) == [2, 1]
    assert list(trials["step"]) == [20, 0]
    assert list(trials["status"]) == ["ok", "oom"]
    assert list(trials["retired"]) == [False, True]
    assert list(trials["spent"]) == [1.0, 0.5]
    assert trials["score"][0] == 0.5
    assert math.isnan(trials["score"][1])


def test_configurations_become_columns(frames: dict[str, pd.DataFrame]) -> None:
    trials = frames["trials"]
    assert list(trials["mixture.web"]) == [0.25, 1.0]
    assert list(trials["mixture.books"]) == [0.75, 0.0]
    assert trials["target_modules"][0] == "attention,mlp"
    assert (trials["r"][0], trials["r"].isna().tolist()) == (8, [False, True])
    assert trials["r"].dtype == "Int64"
    assert trials["learning_rate"][0] == 1e-3
    assert trials["config.step"][0] == 5  # the axis named step makes room for the trial's step
    assert trials["method"][1] == "ia3"


def test_points_carry_what_was_spent(frames: dict[str, pd.DataFrame]) -> None:
    points = frames["points"]
    assert list(points["metric"][:4]) == ["score", "acc", "bpb", "loss.web"]
    scores = points[points["metric"] == "score"]
    assert list(scores["step"]) == [10, 20]
    assert list(scores["segment"]) == [0, 2]
    assert list(scores["spent"]) == [0.5, 1.5]
    assert list(scores["n"]) == [50, 50]


def test_charges_add_up(frames: dict[str, pd.DataFrame]) -> None:
    charges = frames["charges"]
    assert charges["tok"].sum() == 330
    assert charges.groupby("category")["x"].sum().to_dict() == {
        "eval": pytest.approx(0.15),
        "train": pytest.approx(1.35),
    }
    assert charges["s"].isna().all()


def test_recommendations_and_oracle(frames: dict[str, pd.DataFrame]) -> None:
    best = frames["recommendations"].iloc[0]
    assert (best["spent"], best["score"], best["trial"]) == (1.5, 0.5, 0)
    assert math.isnan(best["low"])
    oracle = frames["oracle"]
    assert list(oracle["status"]) == ["ok", "lost"]
    assert oracle["mean"][0] == 0.4
    assert list(oracle["oracle_seed"]) == [11, 12]


def test_a_study_without_events_has_the_same_columns(frames: dict[str, pd.DataFrame]) -> None:
    empty = tables(MANIFEST, [])
    for name in TABLES:
        assert len(empty[name]) == 0
        shared = list(empty[name].columns)
        assert shared == list(frames[name].columns[: len(shared)])
        assert (empty[name].dtypes == frames[name].dtypes[: len(shared)]).all()


def test_axes_of_mixed_kinds_are_text() -> None:
    mixed = [asked(0, Start(Configuration({"a": 1}), 10))]
    mixed += [finished(0, Configuration({"a": 1}), 0, 10, 0.1)]
    mixed += [finished(1, Configuration({"a": "x"}), 0, 10, 0.1)]
    assert list(tables(MANIFEST, mixed)["trials"]["a"]) == ["1", "x"]


def test_parquet_round_trip(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    folder.create(MANIFEST, {})
    with JournalWriter(folder.events, Reading((), 0, 0), sync=False) as journal:
        journal.append(events())
    frames = derive(folder)
    assert write(folder, MANIFEST, events(), "a")
    assert sorted(p.name for p in folder.derived.iterdir()) == sorted(
        f"{name}.parquet" for name in TABLES
    )
    for name, frame in frames.items():
        read = pd.read_parquet(folder.derived / f"{name}.parquet")
        pd.testing.assert_frame_equal(read, frame)


def test_tables_are_made_anew_when_something_changed_only(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    folder.create(MANIFEST, {})
    assert write(folder, MANIFEST, events(), "a")
    assert not write(folder, MANIFEST, events(), "a")
    assert write(folder, MANIFEST, events()[:5], "b")
    assert len(pd.read_parquet(folder.derived / "segments.parquet")) == 2
    assert write(folder, replace(MANIFEST, seed=4), events()[:5], "b")
    assert set(pd.read_parquet(folder.derived / "points.parquet")["seed"]) == {4}
    (folder.derived / "oracle.parquet").write_bytes(b"torn")
    assert write(folder, replace(MANIFEST, seed=4), events()[:5], "b")
    pd.read_parquet(folder.derived / "oracle.parquet")
