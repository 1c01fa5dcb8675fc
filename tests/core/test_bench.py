"""The bench: cross product, resume after any kill, the contract of its folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from jobs_bench.cli.bench import Order, find_suite, labelled, run
from jobs_bench.errors import DataError, InputError, OptionError, UnknownNameError
from jobs_bench.runner.bench import (
    JOURNAL,
    NOT_APPLICABLE,
    STUDIES,
    TRACE,
    StudyOrder,
    read_results,
    results,
)
from jobs_bench.runner.suite import read_suite
from jobs_bench.table.table import write_table
from jobs_bench.testing.tables import synthetic_table


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    write_table(tmp_path / "table", synthetic_table(24))
    plain = {
        "version": 1,
        "name": "tiny",
        "tasks": [f"table?path={tmp_path / 'table'}"],
        "budgets": [4],
        "workers": [1, 2],
        "seeds": 2,
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    return path


def _order(suite: Path, out: Path, *, jobs: int = 1, seeds: int = 2) -> Order:
    strategies = ("random", "hb=hyperband?eta=3")
    return Order(str(suite), strategies, seeds, (), "free", jobs, out, "the command")


def _frames(folder: Path) -> list[pd.DataFrame]:
    studies = pd.read_parquet(folder / "studies.parquet").drop(columns="overhead_s")
    return [studies, pd.read_parquet(folder / "trace.parquet")]


def test_the_folder_keeps_its_contract(suite: Path, tmp_path: Path) -> None:
    done = run(_order(suite, tmp_path / "out"), lambda _: None)
    assert (done.studies, done.fresh, done.states) == (8, 8, {"ok": 8})
    studies = pd.read_parquet(tmp_path / "out" / "studies.parquet")
    trace = pd.read_parquet(tmp_path / "out" / "trace.parquet")
    assert list(studies.columns) == list(STUDIES)
    assert list(trace.columns) == list(TRACE)
    assert studies["study_id"].is_unique
    assert set(studies["label"]) == {"random", "hb"}
    assert set(trace["study_id"]) == set(studies["study_id"])
    for _, study in studies.iterrows():
        steps = trace[trace["study_id"] == study["study_id"]]
        assert steps["spent"].is_monotonic_increasing
        assert steps["time_s"].is_monotonic_increasing
        assert steps["spent"].iloc[0] == 0
        assert steps["score"].iloc[-1] == study["oracle"]
        costs = study[["cost_train", "cost_eval", "cost_proxy"]].sum()
        assert costs == pytest.approx(steps["spent"].iloc[-1])
        assert costs <= study["budget"] * 1.01
        assert json.loads(study["recommended"])
        assert "jobs-bench" in json.loads(study["versions"])
    header = yaml.safe_load((tmp_path / "out" / "bench.yaml").read_text(encoding="utf-8"))
    assert header["state"] == "done"
    assert header["command"] == "the command"
    assert header["suite"]["name"] == "tiny"
    assert header["measured"] == ["studies.overhead_s", "seconds"]


def test_two_processes_give_the_same_tables_as_one(suite: Path, tmp_path: Path) -> None:
    run(_order(suite, tmp_path / "one"), lambda _: None)
    run(_order(suite, tmp_path / "two", jobs=2), lambda _: None)
    for one, two in zip(_frames(tmp_path / "one"), _frames(tmp_path / "two"), strict=True):
        pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert (tmp_path / "one/trace.parquet").read_bytes() == (
        tmp_path / "two/trace.parquet"
    ).read_bytes()


def test_a_killed_bench_goes_on_where_it_stopped(suite: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(_order(suite, whole, seeds=20), lambda _: None)
    command = [sys.executable, "-P", "-m", "jobs_bench.cli.main", "bench", "--suite", str(suite)]
    command += ["--strategies", "random", "--strategies", "hb=hyperband?eta=3", "--seeds", "20"]
    child = subprocess.Popen([*command, "--out", str(killed)], stderr=subprocess.DEVNULL)
    journal = killed / JOURNAL
    while child.poll() is None and not (journal.exists() and journal.stat().st_size > 5000):
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with journal.open("ab") as file:
        file.write(b'{"study": {"study_id": "torn')
    before = len(read_results(killed))
    assert 0 < before < 80
    done = run(_order(suite, killed, seeds=20), lambda _: None)
    assert done.fresh == 80 - before
    for one, two in zip(_frames(whole), _frames(killed), strict=True):
        pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert run(_order(suite, killed, seeds=20), lambda _: None).fresh == 0


def test_another_bench_is_not_mixed_in(suite: Path, tmp_path: Path) -> None:
    run(_order(suite, tmp_path / "out"), lambda _: None)
    with pytest.raises(OptionError, match=r"has another plan \(they differ in seeds\)"):
        run(_order(suite, tmp_path / "out", seeds=3), lambda _: None)
    path = tmp_path / "out" / "bench.yaml"
    header = yaml.safe_load(path.read_text(encoding="utf-8"))
    header["versions"]["numpy"] = "0.0"
    path.write_text(yaml.safe_dump(header), encoding="utf-8")
    with pytest.raises(OptionError, match=r"has another versions \(they differ in numpy\)"):
        run(_order(suite, tmp_path / "out"), lambda _: None)


def test_damage_within_the_journal_is_named(suite: Path, tmp_path: Path) -> None:
    run(_order(suite, tmp_path / "out"), lambda _: None)
    path = tmp_path / "out" / JOURNAL
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0][:50], *lines[1:]]))
    with pytest.raises(DataError, match=r"studies\.jsonl:1: a damaged line"):
        read_results(tmp_path / "out")


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with (
        results(tmp_path),
        pytest.raises(InputError, match="another bench writes to it"),
        results(tmp_path),
    ):
        pass


def test_planted_duplicates_and_known_optima(tmp_path: Path) -> None:
    path = tmp_path / "analytic.yaml"
    plain = {"version": 1, "name": "analytic", "tasks": ["synthetic?noise=0.02"], "budgets": [4]}
    path.write_text(yaml.safe_dump({**plain, "workers": [1], "seeds": 2}), encoding="utf-8")
    strategies = ("random", "twin=random")
    out = tmp_path / "out"
    run(Order(str(path), strategies, 2, (), "free", 1, out, "the command"), lambda _: None)
    studies, trace = _frames(out)
    one, twin = (studies[studies["label"] == n].reset_index() for n in ("random", "twin"))
    assert one["oracle"].tolist() == twin["oracle"].tolist()
    header = yaml.safe_load((out / "bench.yaml").read_text(encoding="utf-8"))
    assert header["references"]["synthetic?noise=0.02"]["best_known"] == 0.0
    last = trace.groupby("study_id").last().loc[studies["study_id"], "config"]
    assert last.tolist() == studies["recommended"].tolist()


def test_a_study_is_named_by_what_it_is_and_by_its_label() -> None:
    one = StudyOrder("t", "random", "a", 0, 1, 8.0)
    assert one.study_id == StudyOrder("t", "random", "a", 0, 1, 8.0).study_id
    assert one.study_id != StudyOrder("t", "random", "b", 0, 1, 8.0).study_id
    assert one.study_id != StudyOrder("t", "random", "a", 1, 1, 8.0).study_id
    assert one.study_id != StudyOrder("t", "random", "a", 0, 1, 8.0, "measured").study_id


def test_labels_and_options_are_told_apart() -> None:
    assert labelled(["hyperband?eta=4"]) == {"hyperband?eta=4": "hyperband?eta=4"}
    assert labelled(["mine=independent(random)"]) == {"mine": "independent(random)"}
    with pytest.raises(OptionError, match="'a' twice"):
        labelled(["a=random", "a=sobol"])
    with pytest.raises(UnknownNameError):
        labelled(["nothing"])


@pytest.mark.parametrize("name", ["dev", "test", "smoke"])
def test_the_suites_are_declared(name: str) -> None:
    suite = find_suite(name)
    assert suite.name == name
    assert suite.tuning == (name != "test")
    wanted = {"dev": "part=dev", "test": "part=test", "smoke": "name=smoke"}[name]
    assert all(wanted in task for task in suite.tasks)


def test_the_smoke_suite_runs(tmp_path: Path) -> None:
    order = Order("smoke", ("random",), 1, (2.0,), "free", 1, tmp_path / "out", "")
    assert run(order, lambda _: None).states == {"ok": 4}


def test_unknown_suites_and_wrong_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no suite named 'dov'; did you mean 'dev'"):
        find_suite("dov")
    path = tmp_path / "suite.yaml"
    for text, told in (
        ("version: 2", "wanted a mapping with version: 1"),
        ("version: 1\nname: a\ntasks: [t]\nbudget: 3", "no part of a suite named 'budget'"),
        ("version: 1\nname: a\ntasks: [t]", "lacks 'budgets'"),
        ("version: 1\nname: a\ntasks: [t]\nbudgets: [0]", "wanted budgets above 0"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=told):
            read_suite(path)


def test_an_analytic_task_is_simulated_as_well(tmp_path: Path) -> None:
    path = tmp_path / "analytic.yaml"
    path.write_text("version: 1\nname: a\ntasks: [synthetic]\nbudgets: [2]", encoding="utf-8")
    assert run(_order(path, tmp_path / "out"), lambda _: None).states == {"ok": 4}


def test_a_live_task_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "live.yaml"
    path.write_text("version: 1\nname: a\ntasks: [pocket_word2]\nbudgets: [2]", encoding="utf-8")
    with pytest.raises(InputError, match="`bench` simulates tasks that answer at once"):
        run(_order(path, tmp_path / "out"), lambda _: None)


def test_what_a_task_cannot_serve_is_named_and_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    write_table(tmp_path / "table", synthetic_table(24))
    tasks = [f"table?path={tmp_path / 'table'}"]
    text = yaml.safe_dump({"version": 1, "name": "a", "tasks": tasks, "budgets": [3]})
    path.write_text(text, encoding="utf-8")
    strategies = ("random", "halves=model_only(random)")
    order = Order(str(path), strategies, 3, (), "free", 1, tmp_path / "out", "")
    done = run(order, lambda _: None)
    assert done.states == {"ok": 3, NOT_APPLICABLE: 3}
    ((label, task, reason), n) = next(iter(done.unable.items()))
    assert (label, task, n) == ("halves", tasks[0], 3)
    assert "candidates" in reason
    again = run(order, lambda _: None)
    assert (again.fresh, again.unable) == (0, done.unable)


def test_a_suite_whose_table_is_missing_says_which_tables_there_are(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    text = yaml.safe_dump(
        {"version": 1, "name": "a", "tasks": ["table?name=smoked"], "budgets": [3]}
    )
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnknownNameError, match="no table named 'smoked'; did you mean 'smoke'"):
        run(_order(path, tmp_path / "out"), lambda _: None)
    assert not (tmp_path / "out").exists()
