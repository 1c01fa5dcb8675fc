"""Merged trials in the runner: what is planned, charged, refused, and kept for them."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from jobs_bench.errors import CapabilityError, ContractError
from jobs_bench.fidelity import Capability
from jobs_bench.report.validate import validate
from jobs_bench.runner.machine import Machine
from jobs_bench.store.codec import Event
from jobs_bench.store.folder import StudyFolder
from jobs_bench.store.journal import JournalWriter, Reading, read
from jobs_bench.strategy.contract import AskContext, Problem, Recommendation, StrategyInfo
from jobs_bench.testing.synthetic import FULL_RUN_FLOP, SCORING, Synthetic
from jobs_bench.trial import Done, Fork, Outcome, Proposal, Resume, Retire, Start, Wait

WHOLE: tuple[Capability, ...] = ("resume", "fork", "curves", "merge")
HALVES = ((0, 0.5), (1, 0.5))
Plan = Sequence[Sequence[Proposal]]


class Planned:
    """Proposes one line of the plan an ask; waits for all outcomes where a line is empty."""

    info = StrategyInfo("planned", "for tests")

    def __init__(self, plan: Callable[[Problem], Plan]) -> None:
        self.make = plan
        self.told: list[Outcome] = []

    def setup(self, problem: Problem) -> None:
        self.problem = problem
        self.plan = self.make(problem)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        del n
        if ctx.ask >= len(self.plan):
            return [Done()]
        return self.plan[ctx.ask] or [Wait()]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        self.told += outcomes

    def recommend(self) -> Recommendation:
        return Recommendation(self.problem.default, reason="for tests")


def _drive(
    plan: Callable[[Problem], Plan],
    capabilities: Sequence[Capability] = WHOLE,
    workers: int = 1,
    task: Synthetic | None = None,
    scoring: float = SCORING,
) -> Machine:
    problem = task or Synthetic()
    told = problem.problem("9x", workers, capabilities)
    planned = told.cost
    told = dataclasses.replace(
        told, cost=lambda c, start, until: scoring if start == until else planned(c, start, until)
    )
    machine = Machine(Planned(plan), told, problem.ledger(), 1)
    while not machine.over:
        while (event := machine.poll()) is not None:
            machine.apply(event)
        if (segment := machine.awaited) is not None:
            machine.apply(machine.finish(problem.run(segment)))
    return machine


def _parents(problem: Problem) -> list[list[Proposal]]:
    return [[Start(problem.default, 27)], [Start(problem.default, 27)]]


def test_a_merged_trial_stands_where_its_parents_do() -> None:
    machine = _drive(lambda p: [*_parents(p), [Start(p.default, 27, {"a": 1}, merge=HALVES)]])
    merged = machine.history[2]
    assert (merged.step, merged.status, merged.merge) == (27, "ok", HALVES)
    assert [p.step for p in merged.points] == [27]
    assert merged.note == {"a": 1}
    spent = machine.ledger.by_category("flop")
    assert spent["eval"] == pytest.approx(SCORING * FULL_RUN_FLOP)
    assert spent["train"] == pytest.approx(2 * 27 / 81 * FULL_RUN_FLOP)


def test_what_is_planned_is_what_is_charged() -> None:
    problem = Synthetic()
    told = problem.problem("9x")
    assert told.cost(told.default, 27, 27) == pytest.approx(SCORING)


def test_what_the_task_lacks_is_said() -> None:
    with pytest.raises(CapabilityError, match="a merged trial needs merge; the task gives curves"):
        _drive(lambda p: [*_parents(p), [Start(p.default, 27, merge=HALVES)]], ("resume", "curves"))


@pytest.mark.parametrize(
    ("third", "error"),
    [
        (lambda c: Start(c, 27, merge=((0, 0.5), (7, 0.5))), "got trial 7; there are 2 trials"),
        (lambda c: Start(c, 27, merge=((0, 0.5), (0, 0.5))), "wanted each trial once"),
        (lambda c: Start(c, 27, merge=((0, float("nan")),)), "with a finite number"),
        (lambda c: Start(c, 81, merge=HALVES), "trial 0 stands at step 27; .* until 81 wants all"),
        (lambda c: Start(c, 27, controller="odm", merge=HALVES), "got the controller odm"),
        (lambda c: Start(c.with_({"r": 3}), 27, merge=HALVES), "trial 0 has another r than"),
    ],
)
def test_what_cannot_be_merged_is_refused(third: Callable[..., Proposal], error: str) -> None:
    capabilities: tuple[Capability, ...] = (*WHOLE, "reweight")
    with pytest.raises(ContractError, match=error):
        _drive(lambda p: [*_parents(p), [third(p.default)]], capabilities)


@pytest.mark.parametrize(
    ("last", "error"),
    [
        ([Resume(2, 81)], "trial 2 is merged and cannot be trained on"),
        (["fork"], "trial 2 is merged and cannot be trained on"),
        (["again"], "trial 2 is merged and has no adapter to merge"),
    ],
)
def test_a_merged_trial_is_an_end(last: list[Resume | str], error: str) -> None:
    def plan(problem: Problem) -> Plan:
        config = problem.default
        named: dict[object, Proposal] = {
            "fork": Fork(2, config, 81),
            "again": Start(config, 27, merge=((2, 1.0),)),
        }
        wanted = [named[v] if isinstance(v, str) else v for v in last]
        return [*_parents(problem), [Start(config, 27, merge=HALVES)], wanted]

    with pytest.raises(ContractError, match=error):
        _drive(plan)


def test_a_merged_trial_may_be_retired() -> None:
    machine = _drive(
        lambda p: [*_parents(p), [Start(p.default, 27, merge=HALVES)], [Retire(2), Retire(0)]]
    )
    assert machine.history[2].retired


def test_failed_and_retired_trials_have_nothing_to_merge() -> None:
    with pytest.raises(ContractError, match="trial 0 is over and has no adapter"):
        _drive(
            lambda p: [*_parents(p), [Start(p.default, 27, merge=HALVES)]],
            task=Synthetic(fail_share=1.0),
        )
    with pytest.raises(ContractError, match="trial 0 is retired and has no adapter"):
        _drive(
            lambda p: [
                *_parents(p),
                [Retire(0), Start(p.default, 1)],
                [Start(p.default, 27, merge=HALVES)],
            ]
        )


@pytest.mark.parametrize("late", ["the same ask", "in flight"])
@pytest.mark.parametrize("then", [Retire(1), Resume(1, 54)])
def test_parents_keep_their_checkpoints_until_the_merge_is_over(late: str, then: Proposal) -> None:
    def plan(problem: Problem) -> Plan:
        both: list[Proposal] = [Start(problem.default, 27), Start(problem.default, 27)]
        merge = Start(problem.default, 27, merge=HALVES)
        if late == "the same ask":
            return [both, [], [merge, then]]
        return [both, [], [Start(problem.default, 1), merge], [then]]

    with pytest.raises(ContractError, match="trial 1 is being merged"):
        _drive(plan, workers=2, scoring=1.0)  # a slow one: the short trial is over before it


def test_records_replay() -> None:
    def plan(p: Problem) -> Plan:
        return [*_parents(p), [Start(p.default, 27, merge=HALVES)], [Resume(0, 81)]]

    problem = Synthetic()
    told = problem.problem("9x", capabilities=WHOLE)
    events = []
    machine = Machine(Planned(plan), told, problem.ledger(), 1)
    while not machine.over:
        event = machine.poll()
        if event is None:
            assert machine.awaited is not None
            event = machine.finish(problem.run(machine.awaited))
        machine.apply(event)
        events.append(event)
    again = Machine(Planned(plan), told, problem.ledger(), 1)
    for event in events:
        again.apply(event)
    assert repr(list(again.history)) == repr(list(machine.history))
    assert again.spent == machine.spent


def test_a_stopped_study_of_real_merges_grows_back_the_same(
    tmp_path: Path, tiny_folder: Path
) -> None:
    process = _process()
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    spec, kind = "merge?evaluations=4", str(tiny_folder)
    assert process.main(whole, kind, 1, spec)
    runs = 0
    while not process.main(cut, kind, 1, spec, _after(1)):
        runs += 1
    assert runs > 7, "stopped before every outcome but the first of a run"
    assert (cut / "events.jsonl").read_bytes() == (whole / "events.jsonl").read_bytes()
    assert validate(whole) == []
    finished = [e.payload for e in read(whole / "events.jsonl").events if e.type == "finished"]
    assert [p["status"] for p in finished] == ["ok"] * 8
    merged = [p for p in finished if "merge" in p["segment"]]
    assert len(merged) == 4
    assert {c["category"] for p in merged for c in p["charges"]} == {"eval"}
    scores = {p["points"][0]["score"][0] for p in merged}
    assert len(scores) == 4, "other coefficients, other scores"


def _after(outcomes: int) -> Callable[[], bool]:
    """Return what stops a study after so many outcomes of this run."""
    count = iter(range(outcomes))
    return lambda: next(count, None) is None


def _process() -> ModuleType:
    script = Path(__file__).with_name("study_process.py")
    spec = importlib.util.spec_from_file_location("study_process", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _proposal(events: list[Event]) -> dict[str, Any]:
    found: dict[str, Any] = next(
        e.payload["proposals"][0]
        for e in events
        if e.type == "asked" and "merge" in e.payload["proposals"][0]
    )
    return found


def _segment(events: list[Event]) -> dict[str, Any]:
    found: dict[str, Any] = next(
        e.payload["segment"]
        for e in events
        if e.type == "finished" and "merge" in e.payload["segment"]
    )
    return found


@pytest.mark.parametrize(
    ("where", "merge", "problem"),
    [
        ("asked", [[0, 0.5], [44, 0.5]], "there is no trial 44 yet"),
        ("asked", [[0, 0.5], [3, 0.5]], "there is no trial 3 yet"),
        ("finished", [[0, 1.0]], "got merge ((0, 1.0),), proposed was"),
    ],
)
def test_validate_knows_merges(
    tmp_path: Path, where: str, merge: list[list[float]], problem: str
) -> None:
    process = _process()
    process.main(tmp_path / "a", "synthetic", 1, "merge?evaluations=4")
    folder = StudyFolder(tmp_path / "a")
    assert validate(folder.root) == []
    events = [Event(e.type, e.payload) for e in read(folder.events).events]
    (_proposal(events) if where == "asked" else _segment(events))["merge"] = merge
    folder.events.unlink()
    with JournalWriter(folder.events, Reading((), 0, 0)) as journal:
        journal.append(events)
    assert any(problem in p for p in validate(folder.root)), validate(folder.root)
