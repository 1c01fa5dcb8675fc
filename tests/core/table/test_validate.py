"""Every kind of damage is named and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from jobs_bench.table.table import Table
from jobs_bench.table.validate import validate
from jobs_bench.testing.tables import synthetic_table

Damage = Callable[[Table], Table]


def _points(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Damage:
    return lambda table: replace(table, points=change(table.points.copy()))


def _trials(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Damage:
    return lambda table: replace(table, trials=change(table.trials.copy()))


def _set(column: str, row: int, value: float | str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, column] = value
        return frame

    return change


def _twice(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[3]]], ignore_index=True)


CASES: dict[str, tuple[Damage, str]] = {
    "missing steps": (_points(lambda p: p.drop(index=[1, 2])), "1 trials are ok but lack some"),
    "duplicate points": (_points(_twice), "1 points repeat a trial and step"),
    "duplicate trials": (_trials(_twice), "1 trials repeat a configuration and seed"),
    "NaN": (_points(_set("loss", 4, np.nan)), "loss: 1 of 60 values are missing or not finite"),
    "wrong units": (_points(_set("loss", 4, -3.0)), "loss: 1 values are outside [0, inf] nats"),
    "alien steps": (_points(_set("step", 0, 2)), "1 points are at steps that the table does not"),
    "no status": (_trials(_set("status", 0, "fine")), "1 trials have an unknown status: fine"),
    "free trials": (_trials(_set("train_flop", 2, 0.0)), "train_flop: 1 values are not finite"),
    "off the simplex": (_trials(_set("mixture.d0", 0, 0.99)), "a configuration is no point"),
    "two parts": (_trials(_set("part", 0, "other")), "1 configurations are in several parts"),
    "negative error": (_points(_set("loss.se", 0, -1.0)), "loss: 1 standard errors are below 0"),
}


def test_a_sound_table_has_no_problems() -> None:
    assert validate(synthetic_table(5)) == []


@pytest.mark.parametrize("name", CASES)
def test_damage_is_named_and_counted(name: str) -> None:
    damage, wanted = CASES[name]
    problems = validate(damage(synthetic_table(5)))
    assert any(wanted in problem for problem in problems), problems
