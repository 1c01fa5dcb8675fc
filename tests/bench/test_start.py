"""How long ``jobs-bench list`` takes from nothing, against a bare start of Python."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

Race = Callable[..., None]

LIST = "import jobs_bench.cli.show as s; s.plugins('strategies')"


@pytest.mark.benchmark(group="start")
@pytest.mark.parametrize("code", ["pass", LIST], ids=["python", "list"])
def test_start(benchmark: Race, code: str) -> None:
    command = [sys.executable, "-P", "-c", code]
    benchmark(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
