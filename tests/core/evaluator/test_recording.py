"""Live recording: one training run for several tasks, resumable, the same scores as live trials."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs_bench.cli.compose import Bench, BenchSpec
from jobs_bench.cli.table_record import Order, Source, build, record
from jobs_bench.errors import OptionError, StorageError
from jobs_bench.evaluator.recording import Recorder
from jobs_bench.runner.machine import derive_seed
from jobs_bench.table.recording import PartWriter, done, read_plan
from jobs_bench.table.task import TableTask
from jobs_bench.table.validate import validate
from jobs_bench.trial import Segment

SMALL = "n_visible=6&n_hidden=5&batch_size=2"
TASKS = (f"pocket_word2?{SMALL}", f"pocket_all?{SMALL}")
ORDER = Order("small", TASKS, None, None, configs=2, seeds=1, points=6, design_seed=20)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    record(ORDER, folder, 0, 1, lambda _: None)
    return folder


def test_the_table_is_sound_and_serves_every_task(recording: Path) -> None:
    table = build(recording, None, {})
    assert validate(table) == []
    assert len(table.trials) == 2
    assert len(table.header.fidelity.steps) >= 6
    assert [t.name for t in table.header.targets] == ["word2", "all"]
    assert table.header.target("word2").steps == (8, 16, 32, 56, 80)
    assert set(table.header.base) == {"word2", "all"}
    assert TableTask(table, "all").info.items == (6, 5)


def test_scores_and_costs_are_those_of_a_live_trial(recording: Path, tmp_path: Path) -> None:
    table = build(recording, None, {})
    bench = Bench(BenchSpec(TASKS[0]))
    task = TableTask(table, "word2")
    config = table.configs[1]
    live = bench.evaluator(tmp_path)
    seed = derive_seed("table", config.key(), 0)
    lived = live.run([Segment(0, config, 0, 80, seed)])[0]
    replayed = task.evaluator(None).run([Segment(0, config, 0, 80, 5)])[0]
    for one, other in zip(lived.points, replayed.points, strict=True):
        assert other.score.mean == pytest.approx(one.score.mean, rel=1e-4)
        assert other.domain_losses == pytest.approx(one.domain_losses, rel=1e-4)
    for start, until in ((0, 80), (16, 56)):
        planned = bench.task.cost(config, start, until)
        for mine, wanted in zip(task.cost(config, start, until), planned, strict=True):
            assert mine.flop == pytest.approx(wanted.flop, rel=1e-6)
            assert mine.tok == pytest.approx(wanted.tok, abs=2)


def test_a_recording_goes_on_after_a_torn_line(recording: Path, tmp_path: Path) -> None:
    whole = (recording / "part-0.jsonl").read_bytes()
    (tmp_path / "recording.yaml").write_bytes((recording / "recording.yaml").read_bytes())
    (tmp_path / "part-0.jsonl").write_bytes(whole[: whole.index(b"\n") + 40])
    assert done(tmp_path) == {(0, 0)}
    record(ORDER, tmp_path, 0, 1, lambda _: None)
    assert done(tmp_path) == {(0, 0), (1, 0)}
    one, two = build(recording, None, {}), build(tmp_path, None, {})
    assert one.points.equals(two.points)


def test_packed_trials_are_recorded_as_those_one_after_the_other(
    recording: Path, tmp_path: Path
) -> None:
    order = replace(ORDER, configs=4, pack=3)
    record(order, tmp_path / "packed", 0, 1, lambda _: None)
    record(replace(order, pack=1), tmp_path / "apart", 0, 1, lambda _: None)
    one, other = (build(tmp_path / name, None, {}) for name in ("packed", "apart"))
    assert list(one.trials["status"]) == list(other.trials["status"])
    assert one.trials["train_flop"].equals(other.trials["train_flop"])
    assert (one.trials["run_s"] > 0).all()
    for name in one.points.columns:
        if name.endswith("bpb") or name.startswith("loss."):
            got, wanted = one.points[name].to_numpy(), other.points[name].to_numpy()
            np.testing.assert_allclose(got, wanted, rtol=1e-2, err_msg=name)
    assert not one.points.equals(other.points), "they shared passes: last digits differ"
    assert build(recording, None, {}).points.equals(other.points[other.points["trial"] < 2]), (
        "by default nothing depends on what else is recorded"
    )


def test_another_recording_is_not_mixed_in(recording: Path) -> None:
    with pytest.raises(OptionError, match=r"another recording was begun here \(seeds: 1 there, 2"):
        record(replace(ORDER, seeds=2), recording, 0, 1, lambda _: None)


def test_two_writers_of_a_part_are_refused(recording: Path) -> None:
    first = PartWriter(recording, 0)
    try:
        with pytest.raises(StorageError, match="another recording writes to it"):
            PartWriter(recording, 0)
    finally:
        first.close()


def test_seed_0_of_all_configurations_comes_first(recording: Path) -> None:
    plan = replace(read_plan(recording), configs=3, seeds=2)
    assert plan.order() == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]


def test_tasks_that_train_differently_are_refused() -> None:
    source = Source((f"pocket_word2?{SMALL}", "pocket_miss"), None, None)
    with pytest.raises(OptionError, match="miss does not train as word2 does"):
        Recorder(source.finetune(), source.steps(5))
