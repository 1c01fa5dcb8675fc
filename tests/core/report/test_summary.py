from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs_bench.report.board import Board, Exclusion, Row
from jobs_bench.report.studies import load_studies
from jobs_bench.report.summary import summarise

MakeStudy = Callable[..., Any]


def boards_of(root: Path) -> tuple[list[Board], list[Exclusion]]:
    return summarise(load_studies(root))


def row_of(boards: list[Board], strategy: str) -> Row:
    return next(r for b in boards for r in b.rows if r.strategy == strategy)


def test_oracle_seeds_are_averaged_inside_a_study_first(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path / "a", seed=0, oracle=(0.5, 0.7))  # 0.6
    make_study(tmp_path / "b", seed=1, oracle=(0.8,), default=(0.4,))  # 0.8
    boards, excluded = boards_of(tmp_path)
    row = row_of(boards, "random")
    assert not excluded
    assert row.score == pytest.approx(0.7)  # not 2 / 3
    assert row.ci_low == pytest.approx(0.7 - 12.706205 * 0.1, abs=1e-5)
    assert row.ci_high == pytest.approx(0.7 + 12.706205 * 0.1, abs=1e-5)
    assert (row.seeds, row.ci_method) == (2, "t over 2 study seeds")
    assert row.gain_over_default == pytest.approx(0.3)


def test_reference_rows_count_shared_runs_once(tmp_path: Path, make_study: MakeStudy) -> None:
    for seed in range(3):
        make_study(tmp_path / str(seed), seed=seed, default=(0.3, 0.5), base=0.25)
    boards, _ = boards_of(tmp_path)
    default, base = row_of(boards, "default recipe"), row_of(boards, "base model")
    assert default.score == pytest.approx(0.4)
    assert default.seeds == 2
    assert default.ci_method == "t over 100 hidden items and 2 oracle seeds"
    assert base.score == pytest.approx(0.25)
    assert base.seeds == 1
    assert base.ci_low == pytest.approx(0.25 - 0.01984217, abs=1e-8)
    assert default.gain_over_default == 0.0
    assert base.gain_over_default == pytest.approx(-0.15)
    assert (default.spent, base.recommended) == (0.0, None)


def test_spending_failures_and_recommendations(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", seed=0, scores=(0.3, None, 0.5))
    make_study(tmp_path / "b", seed=1, scores=(0.6, None, None, 0.2))
    boards, _ = boards_of(tmp_path)
    row = row_of(boards, "random")
    assert row.spent == pytest.approx(3.5)
    assert dict(row.spent_by_category) == {
        "train": pytest.approx(3.15),
        "eval": pytest.approx(0.35),
    }
    assert (row.trials, row.failures, row.currency) == (7, 3, "x")
    assert row.recommended is not None
    assert row.recommended["r"] == 2  # trial 0 of study b, which believes 0.6
    believed = [(r["seed"], r["trial"], r["believed"]) for r in row.recommended_per_seed]
    assert believed == [(0, 2, 0.5), (1, 0, 0.6)]


def test_losses_are_scores_with_their_sign_turned(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(
        tmp_path / "a",
        metric="loss",
        higher_is_better=False,
        oracle=(-2.0,),
        default=(-2.5,),
        base=-4.0,
    )
    boards, _ = boards_of(tmp_path)
    assert [(r.strategy, r.score, r.metric_value) for r in boards[0].rows] == [
        ("random", -2.0, 2.0),
        ("default recipe", -2.5, 2.5),
        ("base model", -4.0, 4.0),
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signature": "other"}, "signature is other, not sig"),
        ({"metric": "f1"}, "metric is f1 (higher is better), not acc (higher is better)"),
        ({"budget": "8x"}, "budget is 8x, not 4x"),
    ],
)
def test_what_is_not_comparable_is_excluded(
    tmp_path: Path, make_study: MakeStudy, change: dict[str, Any], reason: str
) -> None:
    make_study(tmp_path / "b", seed=0, oracle=(0.5,))
    make_study(tmp_path / "c", seed=1, oracle=(0.5,))
    make_study(tmp_path / "a", seed=2, oracle=(0.9,), **change)
    boards, excluded = boards_of(tmp_path)
    assert row_of(boards, "random").score == pytest.approx(0.5)
    assert [e.study for e in excluded] == ["a"]
    assert reason in excluded[0].reason
    assert (excluded[0].strategy, excluded[0].seed) == ("random", 2)


def test_the_same_budget_in_other_words_is_the_same(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", seed=0)
    make_study(tmp_path / "b", seed=1, budget="4.0x")
    assert not boards_of(tmp_path)[1]


@pytest.mark.parametrize("until", ["started", "searching", "ended"])
def test_unfinished_studies_are_excluded(tmp_path: Path, make_study: MakeStudy, until: str) -> None:
    make_study(tmp_path / "a", seed=0)
    make_study(tmp_path / "b", seed=1, oracle=(0.9, 0.9), until=until)
    boards, excluded = boards_of(tmp_path)
    assert row_of(boards, "random").seeds == 1
    assert [(e.study, e.reason.split(":")[0]) for e in excluded] == [("b", "unfinished")]


def test_damaged_journals_are_excluded(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", seed=0)
    folder = make_study(tmp_path / "b", seed=1)
    folder.events.write_bytes(folder.events.read_bytes().replace(b'"tok":1000', b'"tok":1001', 1))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "manifest.json").write_text("{")
    boards, excluded = boards_of(tmp_path)
    assert row_of(boards, "random").seeds == 1
    assert [e.study for e in excluded] == ["b", "c"]
    assert "checksum" in excluded[0].reason
    assert str(tmp_path) not in excluded[0].reason + excluded[1].reason


def test_a_journal_of_another_study_is_damaged(tmp_path: Path, make_study: MakeStudy) -> None:
    a, b = make_study(tmp_path / "a", seed=0), make_study(tmp_path / "b", seed=1)
    shutil.copy(a.events, b.events)
    _, excluded = boards_of(tmp_path)
    assert [e.study for e in excluded] == ["b"]
    assert "another study" in excluded[0].reason


def test_copies_and_repeated_seeds_count_once(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", seed=0, oracle=(0.5,))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    make_study(tmp_path / "c", seed=0, oracle=(0.9,))
    boards, excluded = boards_of(tmp_path)
    assert row_of(boards, "random").score == pytest.approx(0.5)
    assert [(e.study, e.reason) for e in excluded] == [
        ("b", "a copy of a"),
        ("c", "seed 0 is on the board already, by a"),
    ]


def test_a_failed_oracle_run_leaves_no_score(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", seed=0, oracle=(0.9, None))
    make_study(tmp_path / "b", seed=1, oracle=(0.9, 0.9))
    make_study(tmp_path / "c", strategy="worse", oracle=(0.1, 0.1))
    boards, _ = boards_of(tmp_path)
    row = row_of(boards, "random")
    assert (row.score, row.ci_low, row.gain_over_default) == (None, None, None)
    assert row.note == "no score: 1 of 4 oracle runs failed (diverged)"
    assert boards[0].rows[-1] is row  # behind everything that has a score


def test_tasks_and_models_have_boards_of_their_own(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", task="one", signature="1")
    make_study(tmp_path / "b", task="one", model="tiny", signature="2")
    make_study(tmp_path / "c", task="two", signature="3")
    boards, excluded = boards_of(tmp_path)
    assert [(b.task, b.model) for b in boards] == [("one", None), ("one", "tiny"), ("two", None)]
    assert not excluded
