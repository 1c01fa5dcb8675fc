"""The conformance kit of tasks: `check_task`, and `TaskContract` for test classes.

The first part builds the task, trains nothing and takes a second: info, space, costs, signature,
questions. The second part runs segments of the default recipe through an evaluator, up to the
second evaluation step, and three full runs for the oracle: give tasks few questions for it. No test
framework is imported: failed checks are `AssertionError` with a message. In a test module::

    def test_contract() -> None:
        check_task(lambda: MyTask(setup))

or, for one test a check::

    class TestMyTask(TaskContract):
        def factory(self) -> Task:
            return MyTask(setup)

        def evaluator(self, task: Task) -> Evaluator:
            return task.evaluator(workshop)
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast, get_args

import numpy as np

from jobs_bench.errors import InputError
from jobs_bench.fidelity import Capability
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.space import Space
from jobs_bench.task.contract import Evaluator, Task, TaskInfo
from jobs_bench.task.finetune import FineTune
from jobs_bench.testing.evaluator_contract import MakeEvaluator, check_charges, check_evaluator
from jobs_bench.trial import Outcome, Segment

Make = Callable[[], Task]

SAMPLES = 40


def check_task(make: Make, evaluator: MakeEvaluator | None = None) -> None:
    """Run every check.

    Args:
        make: Returns a new task.
        evaluator: Returns a new evaluator of a task, each with checkpoints of its own; ``None``:
            nothing is trained.

    Raises:
        AssertionError: The task broke its contract; the message says where.
    """
    task = make()
    check_task_info(task)
    check_task_space(task)
    check_task_cost(task)
    check_task_signature(task, make())
    check_task_questions(task)
    if evaluator is not None:
        check_evaluator(task, evaluator)


def check_task_info(task: Task) -> None:
    """Assert that the task has its members and an info and a fidelity that fit."""
    assert isinstance(task, Task), f"{task!r} lacks a member of the task contract"
    info = task.info
    assert isinstance(info, TaskInfo), f"info is {info!r}; wanted a TaskInfo"
    assert info.name, "info.name is empty"
    assert info.summary, "info.summary is empty"
    assert info.metric in info.metrics, f"{info.metric} is not among {info.metrics}"
    names = [m.name for m in info.metrics]
    assert len(set(names)) == len(names), f"got the metrics {names}; wanted distinct names"
    for metric in info.metrics:
        low, high = metric.score_bounds
        assert low < high, f"{metric} has score bounds {low}, {high}; wanted low < high"
    unknown = info.capabilities - set(get_args(Capability))
    assert not unknown, f"got the capabilities {sorted(unknown)}; known: {get_args(Capability)}"
    assert min(info.items) >= 0, f"got {info.items} evaluation items"
    assert all(rows > 0 for _, rows in info.domains), f"a domain without rows: {info.domains}"
    steps = task.fidelity().steps
    assert steps == tuple(sorted(set(steps))), f"got the steps {steps}; wanted them ascending"
    assert steps[0] > 0, f"got the steps {steps}; wanted numbers above 0"


def check_task_space(task: Task) -> None:
    """Assert that mixture axes are over the domains; default, draws and candidates are points."""
    space = task.space()
    names = tuple(name for name, _ in task.info.domains)
    for axis in space.simplexes:
        assert axis.domains == names, f"{axis.name} is over {axis.domains}, info has {names}"
    _check_point(space, task.references().default, "the default recipe")
    for config in _draws(space):
        _check_point(space, config, "a draw")
    candidates = task.candidates()
    if candidates is not None:
        assert candidates, "the pool is empty; wanted candidates, or None"
        assert len(set(candidates)) == len(candidates), "a candidate stands in the pool twice"
        for config in candidates:
            _check_point(space, config, "a candidate")


def check_task_cost(task: Task) -> None:
    """Assert that costs are positive and finite, grow with `until`, and add up over cuts."""
    fidelity = task.fidelity()
    configs = task.candidates() or _draws(task.space())
    for config in (task.references().default, *configs[:SAMPLES]):
        before = 0.0
        for until in fidelity.steps:
            charges = task.cost(config, 0, until)
            flop = check_charges(charges, f"cost of {config} until {until}")
            assert flop > before, f"{config}: got {flop} FLOPs until {until}, {before} before it"
            before = flop
        for cut in fidelity.steps[:-1]:
            parts = (task.cost(config, 0, cut), task.cost(config, cut, fidelity.horizon))
            added = sum(c.flop for part in parts for c in part)
            assert math.isclose(added, before, rel_tol=0.01), (
                f"{config}: cut at {cut}, got {added} FLOPs; wanted {before}, those of the whole"
            )
        if "merge" in task.info.capabilities:
            for step in fidelity.steps:
                merged = task.cost(config, step, step)
                spent = [c.category for c in merged if c.flop or c.tok]
                assert spent == ["eval"], (
                    f"{config}: scoring a merged trial at step {step} costs {merged}; wanted "
                    "evaluation and nothing else"
                )


def check_task_signature(first: Task, second: Task) -> None:
    """Assert that a task made twice is the same task."""
    assert first.signature(), "the signature is empty"
    for what, one, two in (
        ("signature", first.signature(), second.signature()),
        ("info", first.info, second.info),
        ("space", first.space(), second.space()),
        ("steps", first.fidelity(), second.fidelity()),
        ("candidates", first.candidates(), second.candidates()),
    ):
        assert one == two, f"made twice, the task has another {what}: {one}, then {two}"


def check_task_questions(task: Task) -> None:
    """Assert that what a fine-tuning task hands to the evaluator fits, no question on both sides.

    Tasks with an evaluator of their own pass.
    """
    with tempfile.TemporaryDirectory() as scratch:
        catcher = _Catcher(Path(scratch))
        task.evaluator(catcher).close()
    spec = catcher.spec
    if spec is None:
        return
    info = task.info
    assert tuple((d.name, len(d.rows)) for d in spec.domains) == info.domains
    assert (len(spec.visible), len(spec.hidden)) == info.items
    assert (spec.metric, spec.higher_is_better) == (info.metric.name, info.metric.higher_is_better)
    assert spec.recipe.fidelity == task.fidelity()
    for side in (spec.visible, spec.hidden):
        assert len({q.id for q in side}) == len(side), "a question stands twice on its side"
    ids = {q.id for q in spec.visible} & {q.id for q in spec.hidden}
    assert not ids, f"visible and hidden at once: {sorted(ids)[:5]}"
    trained = {row.prompt for domain in spec.domains for row in (*domain.rows, *domain.held_out)}
    asked = [q for q in (*spec.visible, *spec.hidden) if q.context]
    leaks = [q.id for q in asked if q.context in trained]
    assert not leaks, f"evaluation questions among the training rows: {leaks[:5]}"


class TaskContract:
    """Mix-in for a test class; override `factory`, and `evaluator` to have segments run."""

    def factory(self) -> Task:
        """Return a new task."""
        raise NotImplementedError("override factory to return a new task")

    def evaluator(self, task: Task) -> Evaluator | None:
        """Return a new evaluator of `task`; ``None``: nothing is trained."""
        del task
        return None

    def test_info(self) -> None:
        """Info fits."""
        check_task_info(self.factory())

    def test_space(self) -> None:
        """Default, draws and candidates are points."""
        check_task_space(self.factory())

    def test_cost(self) -> None:
        """Costs add up."""
        check_task_cost(self.factory())

    def test_signature(self) -> None:
        """Made twice, it is the same task."""
        check_task_signature(self.factory(), self.factory())

    def test_questions(self) -> None:
        """No question is on both sides."""
        check_task_questions(self.factory())

    def test_evaluator(self) -> None:
        """Segments, oracle and failures are as they should be."""
        task = self.factory()
        first = self.evaluator(task)
        if first is not None:
            first.close()
            check_evaluator(task, cast("MakeEvaluator", self.evaluator))


class _Idle:
    """An evaluator that is never asked."""

    def run(self, segments: Sequence[Segment]) -> Sequence[Outcome]:
        raise AssertionError(f"building an evaluator ran {segments}")

    def oracle(self, config: Configuration | None, seeds: Sequence[int]) -> Sequence[Outcome]:
        raise AssertionError(f"building an evaluator asked the oracle for {config}, {seeds}")

    def discard(self, trial_id: int) -> None:
        del trial_id

    def close(self) -> None:
        """Hold nothing."""


class _Catcher:
    """A workshop that keeps what a task wants to have fine-tuned."""

    def __init__(self, workdir: Path) -> None:
        self.workdir = workdir
        self.spec: FineTune | None = None

    def finetune(self, spec: FineTune) -> Evaluator:
        self.spec = spec
        return _Idle()


def _draws(space: Space) -> tuple[Configuration, ...]:
    rng = np.random.default_rng(20)
    return tuple(space.sample(rng) for _ in range(SAMPLES))


def _check_point(space: Space, config: Configuration, what: str) -> None:
    searched = Configuration({n: v for n, v in config.items() if n not in space.fixed})
    try:
        assert space.check(searched) == searched, f"{what} changes when checked: {searched}"
    except InputError as err:
        raise AssertionError(f"{what} is no point of the space: {err}") from err
    built = space.build(searched)
    assert built == searched, f"{what} is not as it would be trained: {searched}, but {built}"
    back = Configuration.from_json(searched.to_json())
    assert back == searched, f"{what} is another one after JSON: {searched}, then {back}"
