from __future__ import annotations

import hashlib
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jobs_bench.assets.pypi import Wheel, download, member, member_names
from jobs_bench.errors import FetchError

Pip = Callable[[Sequence[str]], subprocess.CompletedProcess[str]]


def make(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pkg/a.txt", "hello")
    return path


@pytest.fixture
def served(tmp_path: Path) -> tuple[Wheel, Pip, list[Sequence[str]]]:
    source = make(tmp_path / "some-1.0-py3-none-any.whl")
    content = source.read_bytes()
    calls: list[Sequence[str]] = []

    def pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        calls.append(arguments)
        folder = Path(arguments[arguments.index("--dest") + 1])
        (folder / source.name).write_bytes(content)
        return subprocess.CompletedProcess(arguments, 0, "", "")

    return Wheel("some", "1.0", hashlib.sha256(content).hexdigest(), len(content)), pip, calls


def test_a_wheel_is_downloaded_without_what_it_depends_on(
    served: tuple[Wheel, Pip, list[Sequence[str]]], tmp_path: Path
) -> None:
    wheel, pip, calls = served
    folder = tmp_path / "to"
    folder.mkdir()
    said: list[str] = []
    path = download(wheel, folder, said.append, pip)
    assert member(path, "pkg/a.txt") == b"hello"
    assert member_names(path) == ["pkg/a.txt"]
    assert calls[0][-1] == "some==1.0"
    assert {"--no-deps", "--only-binary=:all:"} <= set(calls[0])
    assert said == ["downloading some==1.0 (0 MB) from the package index"]


def test_another_file_is_not_used(
    served: tuple[Wheel, Pip, list[Sequence[str]]], tmp_path: Path
) -> None:
    wheel, pip, _ = served
    folder = tmp_path / "to"
    folder.mkdir()
    with pytest.raises(FetchError, match="sha256"):
        download(replace(wheel, sha256="0" * 64), folder, print, pip)


@pytest.mark.parametrize(
    ("stderr", "says"),
    [
        ("WARNING: retrying\nERROR: No matching distribution found\nhint", "No matching"),
        ("No module named pip", "No module named pip"),
        ("", "said nothing"),
    ],
)
def test_what_pip_says_is_passed_on(stderr: str, says: str, tmp_path: Path) -> None:
    def pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 1, "", stderr)

    with pytest.raises(FetchError, match=rf"some==1\.0 \(.*{says}.*Check the network"):
        download(Wheel("some", "1.0", "", 0), tmp_path, print, pip)


def test_a_slow_index_is_given_up(tmp_path: Path) -> None:
    def pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(list(arguments), 1)

    with pytest.raises(FetchError, match="try again"):
        download(Wheel("some", "1.0", "", 0), tmp_path, print, pip)


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    path = make(tmp_path / "x.whl")
    with pytest.raises(FetchError, match="pkg/b"):
        member(path, "pkg/b")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FetchError, match=r"x\.whl"):
        member(path, "pkg/a.txt")
    with pytest.raises(FetchError, match=r"x\.whl"):
        member_names(path)
