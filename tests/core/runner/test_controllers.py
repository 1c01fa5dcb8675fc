"""Controlled trials in the runner: what is planned, refused, resumed, and asked of the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from jobs_bench.errors import CapabilityError, ContractError
from jobs_bench.fidelity import Capability
from jobs_bench.runner.executor import InlineExecutor, OracleRequest
from jobs_bench.runner.machine import Machine
from jobs_bench.runner.oracle_cache import OracleCache
from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import (
    AskContext,
    Problem,
    Recommendation,
    StrategyInfo,
)
from jobs_bench.testing.synthetic import Synthetic
from jobs_bench.trial import Done, Fork, Outcome, Proposal, Resume, Segment, Start

SPEC = "odm?rounds=4"
WHOLE: tuple[Capability, ...] = ("resume", "fork", "curves", "reweight")


class Steps:
    """Starts a controlled trial, resumes it, forks it."""

    info = StrategyInfo("steps", "for tests")

    def __init__(self) -> None:
        self.told: list[Outcome] = []

    def setup(self, problem: Problem) -> None:
        self.problem = problem

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        del n
        config = self.problem.default
        plan: list[Proposal] = [
            Start(config, 27, controller=SPEC),
            Resume(0, 54),
            Fork(0, config, 81),
        ]
        return [plan[len(self.told)]] if len(self.told) < len(plan) else [Done()]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        self.told += outcomes

    def recommend(self) -> Recommendation:
        return Recommendation(self.problem.default, controller=SPEC)


class Forms:
    """An evaluator of the synthetic problem that notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def run(self, segments: Sequence[Segment]) -> list[Outcome]:
        return [Synthetic().run(s) for s in segments]

    def oracle(self, config: Configuration | None, seeds: Sequence[int]) -> list[Outcome]:
        return self.controlled_oracle(config or Configuration(), "", seeds)

    def discard(self, trial_id: int) -> None:
        del trial_id

    def close(self) -> None:
        """Hold nothing."""

    def controlled_oracle(
        self, config: Configuration, controller: str, seeds: Sequence[int]
    ) -> list[Outcome]:
        self.asked.append(controller)
        return self.run([Segment(0, config, 0, 81, s, controller=controller) for s in seeds])


class Plain:
    """The same, for an evaluator that knows of no controllers."""

    def __init__(self) -> None:
        self.run = Forms().run
        self.oracle = Forms().oracle
        self.discard = Forms().discard
        self.close = Forms().close


def _drive(capabilities: Sequence[Capability]) -> Steps:
    problem, strategy = Synthetic(), Steps()
    told = problem.problem("9x", capabilities=capabilities)
    machine = Machine(strategy, told, problem.ledger(), 1)
    while not machine.over:
        while (event := machine.poll()) is not None:
            machine.apply(event)
        if (segment := machine.awaited) is not None:
            machine.apply(machine.finish(problem.run(segment)))
    return strategy


def test_a_resumed_trial_keeps_its_controller_and_a_fork_has_none() -> None:
    segments = [o.segment for o in _drive(WHOLE).told]
    assert [(s.start, s.until) for s in segments] == [(0, 27), (27, 54), (54, 81)]
    assert [s.controller for s in segments] == [SPEC, SPEC, ""]


def test_what_the_task_lacks_is_said_before_anything_runs() -> None:
    with pytest.raises(CapabilityError, match=r"odm.* needs reweight; the task gives curves, res"):
        _drive(("resume", "curves"))


def test_the_oracle_runs_what_was_recommended(tmp_path: Path) -> None:
    config = Synthetic().space.default()
    evaluator = Forms()
    requests = [OracleRequest(config, 3), OracleRequest(config, 3, SPEC), OracleRequest(None, 0)]
    outcomes = InlineExecutor(evaluator).oracle(requests[:2])
    assert evaluator.asked == ["", SPEC]
    assert [o.segment.controller for o in outcomes] == ["", SPEC]
    cache = OracleCache(tmp_path, "signature")
    for request, outcome in zip(requests, outcomes, strict=False):
        cache.put(request, outcome)
    found = [cache.get(r) for r in requests]
    assert [o and o.segment for o in found] == [*(o.segment for o in outcomes), None]
    with pytest.raises(ContractError, match="Plain cannot change a mixture"):
        InlineExecutor(Plain()).oracle(requests)
