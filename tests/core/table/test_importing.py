"""Import: the example of the documentation, RegMix's runs, and what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pandas as pd
import pytest

from jobs_bench.errors import DataError
from jobs_bench.table.importing import import_table
from jobs_bench.table.table import Table
from jobs_bench.table.validate import validate

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs" / "tables.md"


def _example(folder: Path) -> tuple[Path, Path]:
    """Write the two files of the documentation's example."""
    text = DOCS.read_text(encoding="utf-8")
    for kind, name in (("csv", "sweep.csv"), ("yaml", "mapping.yaml")):
        blocks = re.findall(rf"```{kind} {name}\n(.*?)```", text, flags=re.DOTALL)
        assert len(blocks) == 1
        (folder / name).write_text(blocks[0], encoding="utf-8")
    return folder / "mapping.yaml", folder / "sweep.csv"


def _import(folder: Path) -> Table:
    return import_table(folder / "mapping.yaml", folder)


def test_the_documented_example_is_a_sound_table(tmp_path: Path) -> None:
    _example(tmp_path)
    table = _import(tmp_path)
    assert validate(table) == []
    assert len(table.trials) == 4
    assert table.configs[0]["r"] == 8
    assert table.configs[1]["target_modules"] == ("attention", "mlp")
    assert table.trials["seed"].tolist() == [0, 0, 1, 0]
    last = table.points[table.points["step"] == 200]
    assert last["hidden_acc"].notna().all()


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_repeated_row_is_refused(tmp_path: Path) -> None:
    _, data = _example(tmp_path)
    lines = data.read_text(encoding="utf-8").splitlines()
    data.write_text("\n".join([*lines, lines[-1]]) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="1 rows repeat a trial and step"):
        _import(tmp_path)


def test_a_metric_without_direction_is_refused(tmp_path: Path) -> None:
    mapping, _ = _example(tmp_path)
    _edit(mapping, "acc: {higher_is_better: true, ", "acc: {")
    with pytest.raises(DataError, match=r"metric acc: .*direction"):
        _import(tmp_path)


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    _, data = _example(tmp_path)
    _edit(data, "hidden_acc", "test_acc")
    with pytest.raises(DataError, match=r"'hidden_acc', which is not there; there are trial"):
        _import(tmp_path)


def test_text_where_a_number_should_be_is_refused(tmp_path: Path) -> None:
    _, data = _example(tmp_path)
    _edit(data, "0.31", "31%")
    with pytest.raises(DataError, match=r"column 'acc': 1 values are no numbers, as '31%'"):
        _import(tmp_path)


def test_percent_instead_of_shares_is_found(tmp_path: Path) -> None:
    _, data = _example(tmp_path)
    _edit(data, "0.31", "31.0")
    (problem,) = validate(_import(tmp_path))
    assert (
        "acc: 1 values are outside [0, 1] share of items, up to 31: is the unit right?" in problem
    )


def test_a_missing_step_is_found(tmp_path: Path) -> None:
    _, data = _example(tmp_path)
    lines = data.read_text(encoding="utf-8").splitlines()
    data.write_text("\n".join([lines[0], *lines[2:]]) + "\n", encoding="utf-8")
    assert any(
        "1 trials are ok but lack some of the 2 steps" in p for p in validate(_import(tmp_path))
    )


def test_a_mixture_off_the_simplex_is_refused_with_its_row(tmp_path: Path) -> None:
    _, data = _example(tmp_path)
    _edit(data, "0.75,0.25", "0.75,0.35")
    with pytest.raises(DataError, match=r"weights that sum to 1\.1"):
        _import(tmp_path)


def test_a_trial_with_two_configurations_is_refused(tmp_path: Path) -> None:
    _, data = _example(tmp_path)
    _edit(data, "a,0.75,0.25,8", "a,0.75,0.25,16")
    with pytest.raises(DataError, match="trial a has two configurations"):
        _import(tmp_path)


def test_files_outside_the_folder_are_not_read(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    mapping, data = _example(inner)
    data.rename(tmp_path / "sweep.csv")
    _edit(mapping, "sweep.csv", "../sweep.csv")
    with pytest.raises(DataError, match=r"got the file '\.\./sweep\.csv'; wanted one in"):
        _import(inner)


def test_an_unknown_part_of_the_mapping_is_refused(tmp_path: Path) -> None:
    mapping, _ = _example(tmp_path)
    _edit(mapping, "  trial: trial", "  trail: trial")
    with pytest.raises(DataError, match=r"no part of import named 'trail'; did you mean 'trial'"):
        _import(tmp_path)


@pytest.mark.data
@pytest.mark.skipif("JOBS_BENCH_DATA" not in os.environ, reason="needs JOBS_BENCH_DATA")
def test_the_regmix_runs_become_a_table() -> None:
    folder = Path(os.environ["JOBS_BENCH_DATA"]) / "regmix_runs"
    table = import_table(ROOT / "examples" / "tables" / "regmix.yaml", folder)
    assert validate(table) == []
    assert len(table.trials) == 512 + 256
    losses = pd.read_csv(folder / "train_pile_loss_1m.csv")["metric/the_pile_pile_cc_val_loss"]
    assert table.points["pile_cc_loss"][:512].tolist() == losses.tolist()
