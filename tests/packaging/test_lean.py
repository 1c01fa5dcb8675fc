"""Importing the package and listing plug-ins load neither torch nor a plug-in."""

from __future__ import annotations

import subprocess
import sys

CHECK = """
import sys, runpy
sys.argv = ["jobs-bench"] + {argv!r}
try:
    import jobs_bench
    if {argv!r}:
        import jobs_bench.cli.main as m
        m.main()
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {{"torch", "transformers", "peft", "botorch", "pandas", "matplotlib",
         "jobs_bench_strategies", "jobs_bench_tasks"}} & set(sys.modules)
assert not heavy, heavy
"""


def _check(*argv: str) -> None:
    code = CHECK.format(argv=list(argv))
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_import_is_lean() -> None:
    _check()


def test_help_is_lean() -> None:
    _check("--help")


def test_list_is_lean() -> None:
    _check("list", "strategies")
    _check("list", "tasks", "--json")
