"""What a leaderboard promises: the planted better method first, nobody moved by the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from jobs_bench.report.collect import collect
from jobs_bench.report.leaderboard import build, standings_of
from jobs_bench.report.references import load_references
from jobs_bench.report.standings import Leaderboard, Standing, leaderboards

Frames = tuple[pd.DataFrame, pd.DataFrame]
StudyFrames = Callable[..., Frames]
WriteBench = Callable[..., Path]
METHODS = {"random": 0.30, "hyperband": 0.50, "bo": 0.60, "independent(bo)": 0.45}


def numbers(standing: Standing) -> dict[str, Any]:
    """Return every number of a row but its rank, to the last digit."""
    return {
        "score": repr(standing.score),
        "area": repr(standing.area),
        "per_task": repr(standing.per_task),
        "times": repr(standing.times),
        "cost": repr(standing.cost),
        "trace": [x.tobytes() for x in (standing.trace.value, standing.trace.low)],
        "profile": [x.tobytes() for x in (standing.profile.share, standing.profile.high)],
        "calibration": repr(standing.calibration),
    }


def copied(frames: Frames, method: str, name: str) -> Frames:
    """Return the runs of a method again under another name: the planted duplicate."""
    studies, trace = (f.copy() for f in frames)
    mine = studies[studies.label == method].copy()
    rows = trace[trace.study_id.isin(mine.study_id)].copy()
    mine["label"] = name
    mine["study_id"] = mine.study_id + "/again"
    rows["study_id"] = rows.study_id + "/again"
    return mine, rows


def oracle_with_noise(frames: Frames, references: Path) -> Frames:
    """Return a method that recommends the best known score, give or take: the planted best."""
    studies, trace = copied(frames, "bo", "oracle")
    rng = np.random.default_rng(0)
    best = {task: file.best_known for task, file in load_references(references).items()}
    studies["oracle"] = studies.task.map(best) + 0.002 * rng.standard_normal(len(studies))
    final = dict(zip(studies.study_id, studies.oracle, strict=True))
    last = ~trace.duplicated("study_id", keep="last")
    trace.loc[last, "score"] = trace[last].study_id.map(final)
    return studies, trace


def joined(*frames: Frames) -> Frames:
    studies, traces = zip(*frames, strict=True)
    return pd.concat(studies, ignore_index=True), pd.concat(traces, ignore_index=True)


def board_of(root: Path, references: Path) -> Leaderboard:
    boards, excluded = standings_of([root], references)
    assert excluded == []
    (board,) = boards
    return board


def rows_of(board: Leaderboard) -> dict[str, Standing]:
    return {s.method: s for s in board.standings}


@pytest.fixture
def frames(study_frames: StudyFrames) -> Frames:
    return study_frames(METHODS)


def test_the_planted_better_method_comes_first(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    board = board_of(
        write_bench(tmp_path, *joined(frames, oracle_with_noise(frames, references))), references
    )
    first = board.standings[0]
    assert first.method == "oracle"
    assert first.rank is not None
    assert first.rank.value == 1.0
    assert first.score.low > board.standings[1].score.high
    assert first.score.value == pytest.approx(100, abs=3)
    assert [s.method for s in board.standings[1:]] == [
        "bo", "hyperband", "independent(bo)", "random",
    ]  # fmt: skip


def test_planted_duplicates_tie(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    twins = joined(frames, copied(frames, "bo", "twin of bo"))
    board = board_of(write_bench(tmp_path, *twins), references)
    rows = rows_of(board)
    assert numbers(rows["bo"]) == numbers(rows["twin of bo"])
    assert rows["bo"].rank == rows["twin of bo"].rank
    assert not board.significance.differ("bo", "twin of bo")


@pytest.mark.parametrize("which", ["oracle", "duplicate", "worse", "older version"])
def test_adding_a_method_moves_no_other_score(
    frames: Frames,
    write_bench: WriteBench,
    study_frames: StudyFrames,
    references: Path,
    tmp_path: Path,
    which: str,
) -> None:
    more = {
        "oracle": lambda: oracle_with_noise(frames, references),
        "duplicate": lambda: copied(frames, "bo", "again"),
        "worse": lambda: study_frames({"worse": -1.0}, seeds=11),
        "older version": lambda: study_frames({"old": 0.7}, seeds=11),
    }[which]()
    if which == "older version":
        more[0]["versions"] = json.dumps({"jobs-bench": "0.0.1"})
    before = rows_of(board_of(write_bench(tmp_path / "a", *frames), references))
    after = rows_of(board_of(write_bench(tmp_path / "b", *joined(frames, more)), references))
    assert set(after) - set(before)
    for method, standing in before.items():
        assert numbers(after[method]) == numbers(standing), method


def test_random_search_is_about_nought_on_its_own_scale(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    row = rows_of(board_of(write_bench(tmp_path, *frames), references))["random"]
    assert row.score.low < 0 < row.score.high


def test_the_order_of_rows_in_a_file_does_not_matter(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    studies, trace = frames
    shuffled = studies.sample(frac=1, random_state=0)
    names = list(dict.fromkeys(trace.study_id))[::-1]
    turned = pd.concat([trace[trace.study_id == n] for n in names])
    one = board_of(write_bench(tmp_path / "a", studies, trace), references)
    other = board_of(write_bench(tmp_path / "b", shuffled, turned), references)
    for a, b in zip(one.standings, other.standings, strict=True):
        assert numbers(a) == numbers(b)
        assert a.rank == b.rank


Edit = Callable[[pd.DataFrame, pd.DataFrame, pd.Series], None]


def _set(column: str, value: object) -> Edit:
    def edit(studies: pd.DataFrame, trace: pd.DataFrame, mine: pd.Series) -> None:
        del trace
        studies.loc[mine, column] = value  # type: ignore[call-overload]

    return edit


def _backwards(studies: pd.DataFrame, trace: pd.DataFrame, mine: pd.Series) -> None:
    rows = trace.study_id.isin(studies[mine].study_id)
    trace.loc[rows, "spent"] = trace.loc[rows, "spent"].to_numpy()[::-1]


def _infinite(studies: pd.DataFrame, trace: pd.DataFrame, mine: pd.Series) -> None:
    trace.loc[trace.study_id.isin(studies[mine].study_id), "score"] = np.inf


BAD: dict[str, tuple[Edit, str]] = {
    "failed": (_set("status", "crashed"), "crashed: no gain found"),
    "no oracle": (_set("oracle", np.nan), "its oracle score is missing"),
    "infinite oracle": (_set("oracle", np.inf), "its oracle score is inf"),
    "other version": (
        _set("versions", '{"jobs-bench": "9.9"}'),
        "not like most studies of its method: jobs-bench 9.9, not 0.1.0",
    ),
    "other strategy": (_set("strategy", "bo?n_init=9"), "strategy bo?n_init=9, not bo"),
    "other signature": (_set("task_signature", "zzz"), "task signature zzz; the references of"),
    "other budget": (_set("budget", 8.0), "budget 8x; the references of pocket_a know 25x"),
    "no budget": (_set("budget", np.nan), "got a budget of nan"),
    "same seed": (_set("seed", 0), "seed 0 on pocket_a is there already: pocket_a/bo/0"),
    "unknown task": (_set("task", "elsewhere"), "no frozen reference for elsewhere"),
    "negative cost": (_set("cost_train", -1.0), "got the costs"),
    "trace backwards": (_backwards, "its trace does not go forward"),
    "infinite trace": (_infinite, "its trace holds an infinite score"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_compared_is_named_and_counted(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path, kind: str
) -> None:
    edit, words = BAD[kind]
    studies, trace = frames
    studies["reason"] = "no gain found"
    bad = studies.study_id == "pocket_a/bo/5"
    clean = write_bench(tmp_path / "clean", studies[~bad], trace[trace.study_id != "pocket_a/bo/5"])
    edit(studies, trace, bad)
    boards, excluded = standings_of([write_bench(tmp_path / "bad", studies, trace)], references)
    assert [(e.study, e.strategy) for e in excluded] == [("pocket_a/bo/5", "bo")]
    assert words in excluded[0].reason
    without = rows_of(board_of(clean, references))
    for method, standing in rows_of(boards[0]).items():
        assert numbers(standing) == numbers(without[method])
        assert standing.left_out == (method == "bo")


def test_beliefs_that_are_nan_are_left_out_of_calibration_alone(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    studies, trace = frames
    studies.loc[studies.study_id == "pocket_a/bo/0", ["believed", "believed_low"]] = np.nan
    row = rows_of(board_of(write_bench(tmp_path, studies, trace), references))["bo"]
    assert len(row.runs) == 30
    assert (row.calibration.believed, row.calibration.intervals) == (29, 29)


def test_a_trace_that_begins_late_has_no_area_but_a_score(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    studies, trace = frames
    late = (trace.study_id == "pocket_a/bo/0") & (trace.spent < 5)
    trace.loc[late, "score"] = np.nan
    row = rows_of(board_of(write_bench(tmp_path, studies, trace), references))["bo"]
    assert row.area is None
    assert np.isfinite(row.score.value)
    assert np.isnan(row.trace.value[0])
    assert np.isfinite(row.trace.value[-1])


def test_a_method_without_all_tasks_is_shown_below_without_a_rank(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    studies, trace = frames
    gone = (studies.label == "bo") & (studies.task == "pocket_e")
    board = board_of(write_bench(tmp_path, studies[~gone], trace), references)
    last = board.standings[-1]
    assert (last.method, last.missing, last.rank) == ("bo", ("pocket_e",), None)
    assert board.standings[0].rank is not None


def test_each_budget_has_a_board_of_its_own(
    study_frames: StudyFrames, write_bench: WriteBench, tmp_path: Path
) -> None:
    from jobs_bench.report.references import freeze

    both = joined(
        study_frames({"random": 0.3, "bo": 0.6}),
        _renamed(study_frames({"random": 0.1, "bo": 0.5}, budget=8.0), "/8"),
    )
    root = write_bench(tmp_path, *both)
    freeze(collect([root]), root / "references")
    boards, excluded = leaderboards(collect([root]), load_references(root / "references"))
    assert excluded == []
    assert [b.title for b in boards] == ["test at 8x", "test at 25x"]
    assert all(abs(rows_of(b)["random"].score.value) < 15 for b in boards)


def test_each_number_of_workers_has_a_board_of_its_own(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    four = _renamed(tuple(f.copy() for f in frames), "/4")  # type: ignore[arg-type]
    four[0]["workers"] = 4
    root = write_bench(tmp_path, *joined(frames, four), suite={"name": "dev", "seeds": 6})
    boards, excluded = standings_of([root], references)
    assert excluded == []
    assert [b.title for b in boards] == ["dev at 25x", "dev at 25x, 4 workers"]
    for a, b in zip(boards[0].standings, boards[1].standings, strict=True):
        assert numbers(a) == numbers(b)


def _renamed(frames: Frames, suffix: str) -> Frames:
    studies, trace = frames
    studies["study_id"] += suffix
    trace["study_id"] += suffix
    return studies, trace


def test_the_gain_of_joint_search_is_planted_and_found(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    board = board_of(write_bench(tmp_path, *frames), references)
    (gain,) = board.gains
    assert (gain.base, gain.wrapper, gain.gain.verdict) == ("bo", "independent", "A is better")
    span = np.mean([r.span for r in board.references.values()])
    assert gain.gain.difference.value == pytest.approx(100 * 0.3 * 0.15 / span, rel=0.5)


def test_what_is_not_applicable_is_named_and_moves_nobody(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    alone = rows_of(board_of(write_bench(tmp_path / "alone", *frames), references))
    unable, _ = copied(frames, "bo", "online")
    why = "strategy online needs reweight; the task gives curves, resume"
    unable = unable.assign(status="not applicable", reason=why, oracle=np.nan)
    studies, trace = frames
    root = write_bench(tmp_path / "with", pd.concat([studies, unable], ignore_index=True), trace)
    board = board_of(root, references)
    rows = rows_of(board)
    assert {m: numbers(s) for m, s in rows.items()} == {m: numbers(s) for m, s in alone.items()}
    (told,) = board.unable
    assert (told.method, told.reason, told.studies) == ("online", why, len(unable))
    assert set(told.tasks) == set(studies.task)
    built = build([root], tmp_path / "out", references=references)
    assert built.excluded == ()
    for name in ("leaderboard.md", "leaderboard.html", "studies.csv"):
        assert f"not applicable: {why}" in (tmp_path / "out" / name).read_text(), name


def test_where_nothing_is_applicable_the_studies_are_named_all_the_same(
    frames: Frames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    studies = frames[0].assign(status="not applicable", reason="no forks", oracle=np.nan)
    boards, excluded = standings_of([write_bench(tmp_path, studies, frames[1])], references)
    assert boards == []
    assert {e.reason for e in excluded} == {"not applicable: no forks"}
    assert len(excluded) == len(studies)
