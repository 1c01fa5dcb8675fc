"""Table tasks: the task contract, exact replay, and what a table cannot say."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from jobs_bench.errors import DataError, OptionError, UnknownNameError
from jobs_bench.registry.loading import load_task
from jobs_bench.table import surrogate as surrogates
from jobs_bench.table.find import ENV
from jobs_bench.table.surrogate import Fitted, Surrogate
from jobs_bench.table.table import Table, write_table
from jobs_bench.table.task import TableEvaluator, TableTask
from jobs_bench.task.contract import Task, TaskSetup
from jobs_bench.testing.evaluator_contract import check_oracle, check_segments
from jobs_bench.testing.synthetic import Synthetic, small_space
from jobs_bench.testing.tables import synthetic_table
from jobs_bench.testing.task_contract import (
    check_task_cost,
    check_task_info,
    check_task_signature,
    check_task_space,
)
from jobs_bench.trial import Segment


@lru_cache(maxsize=1)
def _table() -> Table:
    table = _synthetic()
    return replace(table, header=replace(table.header, base={"goal": 3.0}))


def _synthetic() -> Table:
    return synthetic_table(60, 2, Synthetic(small_space(2), noise=0.002))


@lru_cache(maxsize=1)
def _fitted() -> Fitted:
    return surrogates.fit(_table(), _table().header.target(""), "all")


def _surrogate() -> TableTask:
    table = _table()
    made = Surrogate(table, table.header.target(""), _fitted())
    return TableTask(table, "goal", "surrogate", "all", made)


def _evaluator(task: Task) -> TableEvaluator:
    assert isinstance(task, TableTask)
    return task.evaluator(None)


@pytest.fixture(params=["pool", "dev", "surrogate"])
def task(request: pytest.FixtureRequest) -> TableTask:
    kinds = {
        "pool": lambda: TableTask(_table()),
        "dev": lambda: TableTask(_table(), part="dev"),
        "surrogate": _surrogate,
    }
    return kinds[request.param]()


def test_the_task_contract_is_met(task: TableTask) -> None:
    check_task_info(task)
    check_task_space(task)
    check_task_cost(task)
    check_task_signature(task, task)
    check_segments(task, _evaluator)
    check_oracle(task, _evaluator)


def test_a_pool_replays_what_was_recorded() -> None:
    table = _table()
    task = TableTask(table)
    runs = _evaluator(task)
    recorded = table.points.merge(table.trials, on="trial")
    for number, config in list(table.configs.items())[:8]:
        outcome = runs.run([Segment(0, config, 0, task.fidelity().horizon, number)])[0]
        mine = recorded[recorded["config"] == number]
        for point in outcome.points:
            scores = (-mine.loc[mine["step"] == point.step, "loss"]).tolist()
            assert point.score.mean in scores
        seeds = {
            runs.run([Segment(0, config, 0, 81, s)])[0].points[-1].score.mean for s in range(40)
        }
        assert len(seeds) == 2  # both recorded seeds are met


def test_the_parts_of_a_pool_do_not_overlap() -> None:
    table = _table()
    dev = set(TableTask(table, part="dev").candidates() or ())
    test = set(TableTask(table, part="test").candidates() or ())
    assert not dev & test
    assert dev | test == set(table.configs.values())
    assert len(test) == 20


def test_a_configuration_out_of_the_pool_fails_and_says_so() -> None:
    task = TableTask(_table())
    stranger = task.space().sample(np.random.default_rng(5))
    outcome = _evaluator(task).run([Segment(0, stranger, 0, 81, 0)])[0]
    assert outcome.status == "crashed"
    assert "is not in the pool of 60" in outcome.error


def test_a_surrogate_predicts_what_it_never_saw() -> None:
    task, problem = _surrogate(), Synthetic(small_space(2), noise=0.002)
    rng = np.random.default_rng(3)
    runs = _evaluator(task)
    told = [c for c in (task.space().sample(rng) for _ in range(40)) if task.replay.oracle(c)]
    assert len(told) > 30
    truth = np.array([problem.truth(c) for c in told])
    seen = np.array([o.points[0].score.mean for c in told for o in runs.oracle(c, [0])])
    assert np.corrcoef(truth, seen)[0, 1] > 0.9


def test_a_surrogate_is_the_same_after_storage(tmp_path: Path) -> None:
    surrogates.store(tmp_path, [_fitted()])
    back = surrogates.load(tmp_path, "goal", "all")
    assert back == _fitted()
    with pytest.raises(DataError, match=r"no surrogate of target goal, part dev; there are: goal"):
        surrogates.load(tmp_path, "goal", "dev")


def test_noise_depends_on_seed_and_configuration_alone() -> None:
    task = _surrogate()
    a, b = task.space().default(), _table().configs[3]
    curve = task.replay.curve
    assert curve(a, 1) == curve(a, 1)
    assert len({curve(a, s).points[81].score.mean for s in range(8)}) > 1
    one, other = _surrogate().replay, task.replay
    assert one.curve(b, 2) == other.curve(b, 2)


def test_a_poor_surrogate_does_not_load() -> None:
    fitted = _fitted()
    poor = replace(fitted.held_out[-1], tau=0.79)
    table = _table()
    with pytest.raises(DataError, match=r"Kendall tau at step 81 is 0\.790; wanted at least 0\.8"):
        Surrogate(table, table.header.target(""), replace(fitted, held_out=(poor,)))


def test_a_surrogate_of_another_table_does_not_load() -> None:
    table = _table()
    with pytest.raises(DataError, match="run `table fit` again"):
        Surrogate(table, table.header.target(""), replace(_fitted(), signature="other"))


def test_a_surrogate_does_not_extrapolate() -> None:
    table = _table()
    slow = [n for n, c in table.configs.items() if c.number("learning_rate") < 3e-4]
    half = replace(table, trials=table.trials[table.trials["config"].isin(slow)])
    made = Surrogate(half, half.header.target(""), replace(_fitted(), signature=half.signature))
    inside = table.configs[slow[3]]
    assert made.curve(inside, 0).status == "ok"
    far = inside.with_({"r": 64, "lora_dropout": 0.2, "learning_rate": 5e-3})
    curve = made.curve(far, 0)
    assert curve.status == "crashed"
    assert "outside the support" in curve.error
    assert made.oracle(far) is None


def test_fewer_configurations_than_a_surrogate_needs_is_an_error() -> None:
    table = _table()
    few = replace(table, trials=table.trials[table.trials["config"] < 10])
    with pytest.raises(DataError, match=r"10 configurations .* wanted at least 20"):
        surrogates.fit(few, table.header.target(""), "all")


def test_a_part_without_a_score_at_the_horizon_is_refused() -> None:
    table = _table()
    short = replace(table, points=table.points[table.points["step"] < 81])
    with pytest.raises(DataError, match=r"60 configurations of part all have no score"):
        TableTask(short)


def test_names_are_looked_up_and_never_become_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_table(tmp_path / "tables" / "mine", _table())
    write_table(tmp_path / "secret", _table())
    monkeypatch.setenv(ENV, str(tmp_path / "tables"))
    monkeypatch.chdir(tmp_path)
    assert load_task("table?name=mine", TaskSetup()).info.name == "table"
    assert load_task("table?path=secret", TaskSetup()).candidates()
    for name in ("../secret", str(tmp_path / "secret"), "..", ""):
        with pytest.raises((UnknownNameError, OptionError)):
            load_task(f"table?name={name}", TaskSetup())
    with pytest.raises(DataError, match="wanted the folder of a table"):
        load_task("table?path=nowhere", TaskSetup())
    with pytest.raises(UnknownNameError, match="no part named 'third'"):
        load_task("table?name=mine&part=third", TaskSetup())
