"""The conformance kit over every installed task, as far as its data are on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from jobs_bench.assets.models import SMOLLM2, resolve
from jobs_bench.cli.compose import Bench, BenchSpec
from jobs_bench.errors import MissingError
from jobs_bench.task.contract import Evaluator, Task
from jobs_bench.task.sources import DATA_VARIABLE
from jobs_bench.testing.task_contract import TaskContract, check_task

INSTALLED = {p.name: p for p in entry_points(group="jobs_bench.tasks")}
OWN_DATA = sorted(n for n, p in INSTALLED.items() if p.load().default_model != SMOLLM2)
PUBLIC_DATA = sorted(set(INSTALLED) - set(OWN_DATA) - {"lm_eval"})  # that one: test_lm_eval.py


SPECS = {"table": "table?name=smoke&target=word2"}
"""Tasks that need an option."""


def _maker(spec: str) -> Callable[[], Task]:
    return lambda: Bench(BenchSpec(spec)).task


@pytest.mark.parametrize("name", OWN_DATA)
def test_contract(name: str) -> None:
    check_task(_maker(SPECS.get(name, name)))


@pytest.mark.data
@pytest.mark.smollm2
@pytest.mark.skipif(not os.environ.get(DATA_VARIABLE), reason=f"{DATA_VARIABLE} is not set")
@pytest.mark.parametrize("name", PUBLIC_DATA)
def test_contract_on_public_data(name: str) -> None:
    try:
        resolve(SMOLLM2)
    except MissingError as err:
        pytest.skip(str(err))
    check_task(_maker(name))


@pytest.mark.slow
class TestPocket(TaskContract):
    """The mix-in, segments included."""

    @pytest.fixture(autouse=True)
    def _scratch(self, tmp_path: Path) -> None:
        self.scratch = tmp_path
        self.bench = Bench(BenchSpec("pocket_word2?n_visible=16&n_hidden=16&batch_size=4"))
        self.made = 0

    def factory(self) -> Task:
        return self.bench.task

    def evaluator(self, task: Task) -> Evaluator:
        self.made += 1
        return self.bench.evaluator(self.scratch / str(self.made))


def test_the_kit_refuses_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    make = _maker(OWN_DATA[0])
    kind = type(make())
    monkeypatch.setattr(kind, "signature", lambda self: str(id(self)))
    keep: list[Task] = []

    def remembered() -> Task:
        keep.append(make())
        return keep[-1]

    with pytest.raises(AssertionError, match="another signature"):
        check_task(remembered)
