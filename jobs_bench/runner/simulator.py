"""One study against a task that answers at once: virtual clock, virtual workers, no folder.

The state machine is that of live studies; only the driver differs. Time is the task's expected cost
in seconds; what the strategy itself takes is measured always and put on the clock by a declared
policy only, so that a simulated result does not depend on how busy the machine was.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jobs_bench.budget import Category, Ledger
from jobs_bench.errors import BudgetError, ContractError, OptionError
from jobs_bench.runner.machine import Machine
from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import Problem, Recommendation, Strategy
from jobs_bench.trial import Outcome, Segment

IN_VAIN = 100
"""Failed segments in a row that cost nothing, after which a study is given up."""


@dataclass(frozen=True, slots=True)
class Overhead:
    """How a strategy's own time enters the virtual clock.

    Attributes:
        kind: ``free``: not at all; ``fixed``: `seconds` an ask; ``measured``: as long as it took,
            which makes results depend on the machine.
        seconds: For ``fixed``, ``[0, inf)``.
    """

    kind: Literal["free", "fixed", "measured"] = "free"
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Overhead:
        """Read ``free``, ``fixed:2.5`` or ``measured``.

        Raises:
            OptionError: The text has another form.
        """
        kind, _, rest = text.partition(":")
        if kind == "free" and not rest:
            return cls()
        if kind == "measured" and not rest:
            return cls("measured")
        try:
            seconds = float(rest) if kind == "fixed" else math.nan
        except ValueError:
            seconds = math.nan
        if math.isfinite(seconds) and seconds >= 0:
            return cls("fixed", seconds)
        raise OptionError(f"got the overhead {text!r}; wanted free, measured or fixed:SECONDS")

    def __str__(self) -> str:
        return f"fixed:{self.seconds:g}" if self.kind == "fixed" else self.kind

    def of(self, measured_s: float) -> float:
        """Return the seconds that an ask takes on the virtual clock."""
        return {"free": 0.0, "fixed": self.seconds, "measured": measured_s}[self.kind]


@dataclass(frozen=True, slots=True)
class TracePoint:
    """From here on, `config` is recommended.

    Attributes:
        spent: What the study had spent, in the budget's currency.
        time_s: Virtual seconds.
        config: As the strategy gave it.
    """

    spent: float
    time_s: float
    config: Configuration


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a simulated study came to.

    Attributes:
        ended: Why it ended.
        recommendation: The last one.
        trace: Every change of the recommended configuration, and the end.
        spent: By category, in the budget's currency.
        n_trials: Trials begun.
        n_full: Trials that reached the horizon.
        n_failed: Trials that failed.
        overhead_s: Measured seconds inside the strategy and the state machine.
        virtual_s: Virtual seconds until the end.
    """

    ended: str
    recommendation: Recommendation
    trace: tuple[TracePoint, ...]
    spent: dict[Category, float]
    n_trials: int
    n_full: int
    n_failed: int
    overhead_s: float
    virtual_s: float


def simulate(
    strategy: Strategy,
    problem: Problem,
    ledger: Ledger,
    seed: int,
    run: Callable[[Segment], Outcome],
    overhead: Overhead = Overhead(),  # frozen
    unit_s: float = 1.0,
) -> Simulated:
    """Return the study of `strategy` on `problem`.

    Args:
        strategy: Fresh.
        problem: What it is told; `problem.workers` virtual workers.
        ledger: Empty.
        seed: Study seed.
        run: Answers a segment at once.
        overhead: Policy for the strategy's own time.
        unit_s: Virtual seconds of one unit of the budget's currency.

    Raises:
        BudgetError: The budget cannot pay for one segment, or segments fail without a cost.
        ContractError: The strategy broke its contract.
    """
    began = time.perf_counter()
    machine = Machine(strategy, problem, ledger, seed)
    inside = time.perf_counter() - began
    trace: list[TracePoint] = []
    in_vain = 0
    while not machine.over:
        began = time.perf_counter()
        event = machine.poll()
        took = time.perf_counter() - began
        inside += took
        if event is None:
            segment = machine.awaited
            if segment is None:
                raise ContractError("nothing to do and nothing in flight")
            outcome = run(segment)
            free = outcome.status != "ok" and not any(c.flop or c.tok for c in outcome.charges)
            in_vain = in_vain + 1 if free else 0
            if in_vain == IN_VAIN:
                raise BudgetError(f"{in_vain} segments in a row failed at no cost: {outcome.error}")
            began = time.perf_counter()
            machine.apply(machine.finish(outcome))
            inside += time.perf_counter() - began
            continue
        if event.type == "asked" and overhead.kind != "free":
            event.payload["thought"] = overhead.of(took) / unit_s
        machine.apply(event)
        if event.type == "recommended" and machine.recommendation is not None:
            config = machine.recommendation.config
            if not trace or trace[-1].config != config:
                trace.append(TracePoint(machine.spent, machine.now * unit_s, config))
    recommendation = machine.recommendation
    assert recommendation is not None  # the machine recommends before its first ask
    trace.append(TracePoint(machine.spent, machine.now * unit_s, recommendation.config))
    trials = list(machine.history)
    horizon = problem.fidelity.horizon
    return Simulated(
        ended=machine.ended or "",
        recommendation=recommendation,
        trace=tuple(trace),
        spent=ledger.by_category(problem.budget.currency),
        n_trials=len(trials),
        n_full=sum(t.ok and t.step == horizon for t in trials),
        n_failed=sum(t.failed for t in trials),
        overhead_s=inside,
        virtual_s=machine.now * unit_s,
    )
