"""The format: what is written comes back, and the space with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs_bench.errors import DataError, UnknownNameError
from jobs_bench.space.space import Space
from jobs_bench.table.design import design, part_of
from jobs_bench.table.header import FILE, header_to_yaml, read_header
from jobs_bench.table.space_json import space_from_json, space_to_json
from jobs_bench.table.table import configurations, read_table, spread, write_table
from jobs_bench.testing.synthetic import conditional_space, discrete_space, small_space
from jobs_bench.testing.tables import synthetic_table

SPACES = (small_space(), conditional_space(), discrete_space())


@pytest.mark.parametrize("space", SPACES)
def test_a_space_comes_back_from_yaml(space: Space) -> None:
    text = yaml.safe_dump(space_to_json(space))
    assert space_from_json(yaml.safe_load(text)) == space


@given(st.sampled_from(SPACES), st.integers(0, 2**32))
def test_configurations_come_back_from_columns(space: Space, seed: int) -> None:
    rng = np.random.default_rng(seed)
    configs = [space.sample(rng) for _ in range(4)]
    assert configurations(space, spread(space, configs)) == configs


def test_a_table_comes_back_from_its_folder(tmp_path: Path) -> None:
    table = synthetic_table(6)
    write_table(tmp_path, table)
    back = read_table(tmp_path)
    assert back.header == table.header
    assert back.configs == table.configs
    assert back.signature == table.signature


def test_the_signature_follows_numbers_and_leaves_provenance_and_seconds_out() -> None:
    table = synthetic_table(4)
    told = replace(table.header, provenance={"machine": "another"})
    slower = table.trials.assign(run_s=9.0)
    assert replace(table, header=told, trials=slower).signature == table.signature
    changed = table.points.assign(loss=table.points["loss"] + 1e-9)
    assert replace(table, points=changed).signature != table.signature


@given(st.integers(1, 40), st.integers(0, 99))
def test_a_longer_design_begins_with_the_shorter_one(n: int, seed: int) -> None:
    space = small_space(5)
    longer = design(space, 40, seed)
    assert design(space, n, seed) == longer[:n]
    assert longer[0] == space.default()
    assert len(set(longer)) == 40


def test_a_third_of_the_configurations_is_kept_for_tests() -> None:
    parts = [part_of(i) for i in range(300)]
    assert parts.count("test") == 100
    assert parts.count("dev") == 200


def _broken(tmp_path: Path, old: str, new: str) -> Path:
    text = header_to_yaml(synthetic_table(2).header)
    assert old in text
    (tmp_path / FILE).write_text(text.replace(old, new, 1), encoding="utf-8")
    return tmp_path / FILE


def test_a_metric_without_direction_is_refused(tmp_path: Path) -> None:
    path = _broken(tmp_path, "    higher_is_better: false\n", "")
    with pytest.raises(DataError, match=r"metric loss: .*direction"):
        read_header(path)


def test_a_version_from_the_future_is_refused(tmp_path: Path) -> None:
    path = _broken(tmp_path, "version: 1", "version: 2")
    with pytest.raises(DataError, match=r"format version 2; this release reads 1"):
        read_header(path)


def test_an_unknown_kind_of_axis_is_refused(tmp_path: Path) -> None:
    path = _broken(tmp_path, "kind: simplex", "kind: cube")
    with pytest.raises(DataError, match=r"no kind of axis named 'cube'"):
        read_header(path)


def test_a_target_of_an_unknown_metric_is_refused(tmp_path: Path) -> None:
    path = _broken(tmp_path, "oracle: hidden_loss", "oracle: nothing")
    with pytest.raises(DataError, match=r"no metric named 'nothing'"):
        read_header(path)


def test_a_lacking_column_is_named(tmp_path: Path) -> None:
    table = synthetic_table(3)
    write_table(tmp_path, replace(table, points=table.points.drop(columns="loss")))
    with pytest.raises(DataError, match=r"points.parquet: lacks the columns loss"):
        read_table(tmp_path)


def test_a_target_is_found_by_name_or_when_it_is_the_only_one() -> None:
    header = synthetic_table(2).header
    assert header.target("") is header.target("goal")
    with pytest.raises(UnknownNameError, match="no target named 'other'"):
        header.target("other")
