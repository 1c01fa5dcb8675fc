"""The conformance kit of strategies: `check_strategy`, and `StrategyContract` for test classes.

It drives the strategy through the runner's own state machine on synthetic problems and asserts what
the contract says. No test framework is imported: failed checks are `AssertionError` with a message.
In a test module::

    def test_contract() -> None:
        check_strategy(MyStrategy)

or, for one test a check::

    class TestMyStrategy(StrategyContract):
        def factory(self) -> Strategy:
            return MyStrategy(eta=4)

A strategy may refuse a problem in `setup` with an `InputError` (a missing capability, a space
without the block it searches): such a case counts as declined, but not all of them may.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jobs_bench.errors import ContractError, InputError
from jobs_bench.runner.machine import Machine
from jobs_bench.store.codec import Event
from jobs_bench.strategy.contract import (
    AskContext,
    Problem,
    Recommendation,
    Strategy,
    StrategyInfo,
)
from jobs_bench.testing.synthetic import (
    Synthetic,
    conditional_space,
    discrete_space,
    pool,
    small_space,
)
from jobs_bench.trial import Outcome, Proposal

Make = Callable[[], Strategy]

MAX_EVENTS = 3000
# last one: asked twice and replayed
QUICK = (
    "conditional axes, floor and caps",
    "finite pool",
    "every score is NaN",
    "some trials fail",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One problem to try a strategy on."""

    name: str
    task: Synthetic
    budget: str = "3x"
    workers: int = 1


def cases() -> tuple[Case, ...]:
    """Return the listed problems: spaces, pools, workers, failures, NaN, tiny budgets."""
    small, few = small_space(), pool(small_space(), 4, 4)
    return (
        Case("small space", Synthetic(small), "4x"),
        Case("three workers", Synthetic(small, seed=1), "5x", workers=3),
        Case("conditional axes, floor and caps", Synthetic(conditional_space(), seed=2)),
        Case("discrete axes", Synthetic(discrete_space(), seed=3)),
        Case("tokens as currency", Synthetic(small, seed=4), "350000tok"),
        Case("finite pool", Synthetic(small, seed=5, candidates=few), "3x", workers=2),
        Case("pool used up", Synthetic(small, seed=6, candidates=pool(small, 2, 2)), "30x"),
        Case("some trials fail", Synthetic(small, seed=7, fail_share=0.4), "4x", workers=2),
        Case("every trial fails", Synthetic(small, seed=8, fail_share=1.0)),
        Case("some scores are NaN", Synthetic(small, seed=9, nan_share=0.4), "4x"),
        Case("every score is NaN", Synthetic(small, seed=10, nan_share=1.0), "3x"),
        Case("budget of one full run", Synthetic(small, seed=11), "1x"),
        Case("budget below a full run", Synthetic(small, seed=12), "0.05x"),
    )


def check_strategy(make: Make, quick: bool = False) -> None:
    """Run every check.

    Args:
        make: Returns a fresh strategy, such as the class itself.
        quick: Fewer and shorter studies, for strategies that take seconds to answer.

    Raises:
        AssertionError: The strategy broke its contract; the message says where.
    """
    check_info(make)
    check_before_data(make)
    if quick:
        short = [dataclasses.replace(c, budget="2.5x") for c in cases() if c.name in QUICK]
        check_studies(make, short)
        check_ask_is_pure(make, short[-1:])
        check_replay(make, short[-1:], most=8)
    else:
        check_studies(make)
        check_ask_is_pure(make)
        check_replay(make)


def check_info(make: Make) -> None:
    """Assert that the strategy has its members and an info that fits."""
    strategy = make()
    assert isinstance(strategy, Strategy), f"{strategy!r} lacks setup, ask, tell or recommend"
    info = strategy.info
    assert isinstance(info, StrategyInfo), f"info is {info!r}; wanted a StrategyInfo"
    assert info.name, "info.name is empty"
    assert info.summary, "info.summary is empty"


def check_before_data(make: Make) -> None:
    """Assert that `recommend` works before any outcome, with a point of the space."""
    accepted = 0
    for case in cases():
        strategy = make()
        problem = case.task.problem(case.budget, case.workers)
        try:
            strategy.setup(problem)
        except InputError:
            continue
        accepted += 1
        _check_recommendation(strategy.recommend(), problem, case.name)
    assert accepted, "the strategy declines every problem of the kit"


def check_studies(make: Make, chosen: Sequence[Case] | None = None) -> None:
    """Assert that whole studies run: valid proposals, no use of global generators, a clean end."""
    for case in cases() if chosen is None else chosen:
        watched = _Watched(make(), case.name)
        try:
            machine = _machine(watched, case)
        except InputError:
            continue
        try:
            events = _drive(machine, case)
        except ContractError as err:
            raise AssertionError(f"{case.name}: {err}") from err
        _check_trials(machine, case, events)


def check_ask_is_pure(make: Make, chosen: Sequence[Case] | None = None) -> None:
    """Assert that asking twice under one context gives the same, and leaves the history alone."""
    both = [c for c in cases() if c.name in ("three workers", "some trials fail")]
    for case in both if chosen is None else chosen:
        try:
            machine = _machine(_AskedTwice(make(), case.name), case)
        except InputError:
            continue
        _drive(machine, case)


def check_replay(make: Make, chosen: Sequence[Case] | None = None, most: int = 40) -> None:
    """Assert that a study killed after any event goes on as if nothing had happened.

    A fresh strategy is fed the recorded events before a computed one, and must compute the same.

    Args:
        make: Returns a fresh strategy.
        chosen: Problems, by default one without and one with failures.
        most: Kills a study, evenly spread over its events.
    """
    both = [c for c in cases() if c.name in ("small space", "some trials fail")]
    for case in both if chosen is None else chosen:
        short = dataclasses.replace(case, budget="3x") if chosen is None else case
        try:
            events = _drive(_machine(make(), short), short)
        except InputError:
            continue
        for cut in _cuts(events, most):
            machine = _machine(make(), short)
            for event in events[:cut]:
                machine.apply(event)
            got = machine.poll()
            assert got is not None, (
                f"{case.name}: after {cut} events: got none; wanted {events[cut]}"
            )
            assert (got.type, got.payload) == (events[cut].type, events[cut].payload), (
                f"{case.name}: replayed up to event {cut}, then got\n{got}\nwanted\n{events[cut]}\n"
                "Does ask leave state behind, or recommend depend on more than the outcomes told?"
            )


class StrategyContract:
    """Mix-in for a test class; override `factory`."""

    def factory(self) -> Strategy:
        """Return a fresh strategy."""
        raise NotImplementedError("override factory to return a fresh strategy")

    def test_info(self) -> None:
        """Info fits."""
        check_info(self.factory)

    def test_before_data(self) -> None:
        """Recommends before data."""
        check_before_data(self.factory)

    def test_studies(self) -> None:
        """Whole studies run."""
        check_studies(self.factory)

    def test_ask_is_pure(self) -> None:
        """Asking leaves nothing behind."""
        check_ask_is_pure(self.factory)

    def test_replay(self) -> None:
        """A killed study goes on alike."""
        check_replay(self.factory)


class _Watched:
    """Passes everything on and asserts that no global state was touched."""

    def __init__(self, inner: Strategy, where: str) -> None:
        self.inner = inner
        self.info = inner.info
        self.where = where
        self.problem: Problem | None = None

    def setup(self, problem: Problem) -> None:
        self.problem = problem
        self.inner.setup(problem)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        before = _global_state()
        proposals = self.inner.ask(n, ctx)
        _check_same(before, f"{self.where}: ask")
        return proposals

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        before = _global_state()
        self.inner.tell(outcomes)
        _check_same(before, f"{self.where}: tell")

    def recommend(self) -> Recommendation:
        before = _global_state()
        found = self.inner.recommend()
        _check_same(before, f"{self.where}: recommend")
        assert self.problem is not None
        _check_recommendation(found, self.problem, self.where)
        return found


class _AskedTwice(_Watched):
    """Asks twice and compares."""

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        history = repr(list(ctx.history))
        again = dataclasses.replace(ctx, rng=copy.deepcopy(ctx.rng))
        first, second = self.inner.ask(n, ctx), self.inner.ask(n, again)
        assert list(first) == list(second), (
            f"{self.where}: asked twice under one context, got {first} and then {second}"
        )
        assert repr(list(ctx.history)) == history, f"{self.where}: ask changed the history"
        return first


def _machine(strategy: Strategy, case: Case) -> Machine:
    problem = case.task.problem(case.budget, case.workers)
    return Machine(strategy, problem, case.task.ledger(), seed=7)


def _drive(machine: Machine, case: Case) -> list[Event]:
    events: list[Event] = []
    while not machine.over:
        event = machine.poll()
        if event is None:
            segment = machine.awaited
            assert segment is not None, f"{case.name}: nothing to do, nothing in flight, not over"
            event = machine.finish(case.task.run(segment))
        machine.apply(event)
        events.append(event)
        assert len(events) < MAX_EVENTS, f"{case.name}: no end after {MAX_EVENTS} events"
    return events


def _cuts(events: Sequence[Event], most: int) -> list[int]:
    """Return the positions of computed events: all of a short study, thinned out in a long one."""
    computed = [i for i, e in enumerate(events) if e.type in ("asked", "recommended")]
    stride = max(1, math.ceil(len(computed) / most))
    return computed[::stride]


def _check_trials(machine: Machine, case: Case, events: Sequence[Event]) -> None:
    space = machine.problem.space
    configs = [t.config for t in machine.history]
    for config in configs:
        assert space.build(config) == config, (
            f"{case.name}: {config} is not as it would be trained: {space.build(config)}"
        )
    if case.task.candidates is not None:
        assert len(set(configs)) == len(configs), f"{case.name}: a candidate was started twice"
    affordable = any(e.type == "finished" for e in events)
    full = case.task.problem(case.budget).full_cost() <= machine.problem.budget.limit
    assert affordable or not full, f"{case.name}: nothing was run although a full run is affordable"


def _check_recommendation(found: Recommendation, problem: Problem, where: str) -> None:
    assert isinstance(found, Recommendation), f"{where}: recommend returned {found!r}"
    try:
        problem.space.check(found.config)
    except InputError as err:
        raise AssertionError(f"{where}: the recommended configuration is no point: {err}") from err
    assert found.reason, f"{where}: the recommendation has no reason"
    for value in (found.score, found.low, found.high):
        assert value is None or value == value, f"{where}: a recommendation with NaN: {found}"
    if found.score is not None and found.low is not None and found.high is not None:
        assert found.low <= found.score <= found.high, f"{where}: the interval misses: {found}"


def _global_state() -> tuple[object, ...]:
    torch = sys.modules.get("torch")
    state = np.random.get_state(legacy=False)  # noqa: NPY002  # the global state is what is checked
    assert isinstance(state, dict)
    return (
        random.getstate(),
        (state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"]),
        torch.get_rng_state().numpy().tobytes() if torch else None,
        torch.get_num_threads() if torch else None,
    )


def _check_same(before: tuple[object, ...], where: str) -> None:
    names = (
        "random's generator",
        "numpy's global generator",
        "torch's generator",
        "torch's threads",
    )
    for name, old, new in zip(names, before, _global_state(), strict=True):
        # torch imported meanwhile is no change
        assert old is None or old == new, f"{where} changed {name}; use ctx.rng and ctx.torch_seed"
