from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from jobs_bench.assets.cache import data_dir, models_dir, whole_folder
from jobs_bench.errors import FetchError, InputError
from jobs_bench.task.sources import CACHE_VARIABLE


def interrupted(target: Path, error: BaseException) -> None:
    with whole_folder(target) as folder:
        (folder / "new").write_text("half")
        raise error


def test_the_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert models_dir() == tmp_path / "models"
    assert data_dir() == tmp_path / "data"
    monkeypatch.setenv(CACHE_VARIABLE, "")
    assert models_dir().parent.name == "jobs-bench"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "x"
    with whole_folder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
        assert folder.parent == target.parent
    assert (target / "a").read_text() == "1"
    assert [p.name for p in target.parent.iterdir()] == ["x"]


def test_what_was_there_stays_until_then(tmp_path: Path) -> None:
    target = tmp_path / "x"
    for text in ("old", "new"):
        with whole_folder(target) as folder:
            (folder / text).write_text(text)
    assert [p.name for p in target.iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), FetchError("x")])
def test_a_failure_leaves_things_as_they_were(error: BaseException, tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(type(error)):
        interrupted(target, error)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert [p.name for p in target.iterdir()] == ["old"]


def test_a_full_disk_is_said_and_cleaned_up(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FetchError, match=rf"full .*{CACHE_VARIABLE}"):
        interrupted(tmp_path / "x", error)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(FetchError, match="cannot write"), whole_folder(tmp_path / "file" / "x"):
        pass


def test_odd_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError), whole_folder(tmp_path / ".."):
        pass
