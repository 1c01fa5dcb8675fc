"""A metric that is a sum of parts: declared, checked, told to strategies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs_bench.errors import UnknownNameError
from jobs_bench.table.header import TableMetric, Target, header_to_yaml, read_header
from jobs_bench.table.table import Table
from jobs_bench.table.task import TableTask
from jobs_bench.table.validate import validate
from jobs_bench.testing.tables import synthetic_table
from jobs_bench.trial import Segment

PARTS = {"first": 0.5, "second": 0.5}


def _table() -> Table:
    table = synthetic_table(12, 1)
    tilt = np.sin(np.arange(len(table.points)))
    points = table.points.assign(
        a=table.points["loss"] + tilt + 2, b=table.points["loss"] - tilt + 2
    )
    points["loss"] += 2
    extra = tuple(
        TableMetric(name, higher_is_better=False, high=float("inf")) for name in ("a", "b")
    )
    shown = {"loss": "loss", "first": "a", "second": "b"}
    target = Target("goal", "loss", "hidden_loss", shown, parts=PARTS)
    header = replace(table.header, metrics=(*table.header.metrics, *extra), targets=(target,))
    return replace(table, header=header, points=points)


def test_a_task_tells_the_parts_of_its_score(tmp_path: Path) -> None:
    table = _table()
    assert validate(table) == []
    (tmp_path / "table.yaml").write_text(header_to_yaml(table.header), encoding="utf-8")
    assert read_header(tmp_path / "table.yaml").targets == table.header.targets
    task = TableTask(table)
    assert dict(task.info.parts) == {"first": -0.5, "second": -0.5}
    (config, *_) = task.candidates() or ()
    horizon = task.fidelity().horizon
    (outcome,) = task.evaluator(None).run([Segment(0, config, 0, horizon, 0)])
    for point in outcome.points:
        summed = sum(w * point.metrics[name].mean for name, w in task.info.parts)
        assert point.score.mean == pytest.approx(summed)


def test_a_sum_that_is_none_is_named_and_counted() -> None:
    table = _table()
    points = table.points.copy()
    points.loc[3, "a"] = 1e3
    (problem,) = validate(replace(table, points=points))
    assert "target goal: 1 values of loss are not the sum of its parts" in problem


def test_a_part_that_is_not_shown_is_refused() -> None:
    table = _table()
    target = replace(table.header.targets[0], parts={"third": 1.0})
    with pytest.raises(UnknownNameError, match="no part of target goal named 'third'"):
        replace(table.header, targets=(target,))
