"""Pools of fake workers, and the certainty that none of their processes is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs_bench.runner.local import LocalExecutor, WorkerPool

FAKE = str(Path(__file__).with_name("fake_worker.py"))
ALONE = (sys.executable, "-S", "-E", FAKE, "alone")
TEMPLATE = (sys.executable, FAKE, "template")


def status(pid: int) -> dict[str, str]:
    """Return what Linux says of a process; nothing of one that has ended.

    A zombie that its parent should have reaped has not; one that init has adopted has.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    told = {name: value.strip() for name, _, value in pairs}
    return {} if told["State"].startswith("Z") and told["PPid"] == "1" else told


class Pool:
    """Makes pools and knows the processes that they started."""

    def __init__(self, folder: Path, forked: bool) -> None:
        self.folder = folder
        self.forked = forked
        self.made: list[WorkerPool] = []

    def __call__(
        self,
        how: str = "",
        faults: int = 0,
        slots: int = 1,
        command: Sequence[str] | None = None,
        **options: Any,
    ) -> LocalExecutor:
        files = {name: str(self.folder / name) for name in ("pids", "runs", "templates")}
        hello = {"how": how, "faults": faults, **files}
        template = (command or TEMPLATE) if self.forked else None
        options = {"template": template, **options}
        pool = WorkerPool(command or ALONE, hello, slots, self.folder / "logs", **options)
        self.made.append(pool)
        return LocalExecutor(pool, self.folder / "work")

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text(encoding="utf-8").split() if path.exists() else []

    @property
    def workers(self) -> list[int]:
        """Process ids of all workers so far, in order."""
        return [int(p) for p in self.lines("pids") if p not in self.lines("templates")]

    @property
    def templates(self) -> list[int]:
        """Process ids of all templates so far, in order."""
        return [int(p) for p in self.lines("templates")]

    @staticmethod
    def parent(pid: int) -> int:
        """Return the parent of a process that lives."""
        return int(status(pid)["PPid"])

    def close(self) -> None:
        for pool in self.made:
            pool.close()

    def alive(self) -> list[int]:
        return [p for p in map(int, self.lines("pids")) if status(p)]


@pytest.fixture(params=["alone", "forked"])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pool]:
    """Return a maker of pools, without and with a template."""
    yield from _pools(tmp_path, request.param == "forked")


@pytest.fixture
def forked(tmp_path: Path) -> Iterator[Pool]:
    """Return a maker of pools with a template."""
    yield from _pools(tmp_path, True)


def _pools(folder: Path, forked: bool) -> Iterator[Pool]:
    maker = Pool(folder, forked)
    yield maker
    maker.close()
    assert maker.alive() == [], "a process outlives its pool"


@pytest.fixture
def within() -> Callable[[float, Callable[[], bool]], None]:
    """Return a function that waits until something is so."""

    def wait(seconds: float, done: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, "not within the time"
            time.sleep(0.01)

    return wait
