"""The pure state machine of a study: events in, events and awaited segments out.

No clock, no file, no process. The order in which outcomes are told is that of *virtual time*: a
worker is taken for as long as its segment is expected to cost (and, where the ask event says so,
for as long as the strategy thought). So a study depends on its seed and its outcomes alone, at any
number of workers, on any machine, through any number of crashes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from jobs_bench.budget import Ledger
from jobs_bench.errors import (
    BudgetError,
    CapabilityError,
    ContractError,
    JobsBenchError,
    JournalError,
)
from jobs_bench.registry.loading import load_controller
from jobs_bench.store.codec import (
    Event,
    number,
    outcome_from_json,
    outcome_to_json,
    proposal_from_json,
    proposal_to_json,
    recommendation_from_json,
    recommendation_to_json,
)
from jobs_bench.strategy.contract import AskContext, Problem, Recommendation, Strategy
from jobs_bench.strategy.controller import capabilities_of, planned_cost
from jobs_bench.strategy.history import History
from jobs_bench.trial import (
    Done,
    Fork,
    Outcome,
    Proposal,
    Resume,
    Retire,
    Segment,
    Start,
    Wait,
)

SLACK = 0.01  # of a full run: estimates are not exact, a budget of 8x shall pay for 8 full runs


@dataclass(frozen=True, slots=True)
class Flight:
    """A segment in flight.

    Attributes:
        segment: What runs.
        ends: Virtual time at which it is over, in the budget's currency of one worker.
        cost: Expected cost in the budget's currency.
    """

    segment: Segment
    ends: float
    cost: float


controller = lru_cache(maxsize=64)(load_controller)
"""A controller by its spec; controllers are pure, so one object serves all."""


def derive_seed(*parts: int | str) -> int:
    """Return a number of ``[0, 2**63)`` that depends on all `parts`, the same on every machine."""
    digest = hashlib.sha256("/".join(str(p) for p in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Machine:
    """The state of one study.

    Drive it so: while `poll` returns an event, write it down and `apply` it; when it returns
    ``None``, either `over` is true, or run `awaited`, make an event of its outcome with `finish`,
    write that down and `apply` it. To resume, `apply` the recorded events first: recorded proposals
    are not computed again.

    Args:
        strategy: Fresh; the machine sets it up.
        problem: What the strategy is told.
        ledger: Empty; the machine is its only writer.
        seed: Study seed.

    Raises:
        BudgetError: The budget cannot pay for one segment.
    """

    def __init__(self, strategy: Strategy, problem: Problem, ledger: Ledger, seed: int) -> None:
        cheapest = problem.cost(problem.default, 0, problem.fidelity.lo)
        if cheapest > problem.budget.limit * (1 + 1e-9):
            raise BudgetError(
                f"got a budget of {problem.budget}; wanted at least {cheapest:.4g}"
                f"{problem.budget.currency}, the cost of the shortest segment "
                f"(a full run: {problem.full_cost():.4g}{problem.budget.currency})"
            )
        self.problem = problem
        self.ledger = ledger
        self.history = History()
        self.recommendation: Recommendation | None = None
        self.ended: str | None = None
        self.now = 0.0
        self._thought_until = 0.0
        self._pool = None if problem.candidates is None else frozenset(problem.candidates)
        self._strategy = strategy
        self._seed = seed
        self._flights: list[Flight] = []
        self._asks = 0
        self._blocked = False
        self._stopping: str | None = None
        self._must_recommend = True
        strategy.setup(problem)

    @property
    def over(self) -> bool:
        """Return whether the search has ended."""
        return self.ended is not None

    @property
    def in_flight(self) -> tuple[Segment, ...]:
        """Return the segments in flight, in the order in which they were launched."""
        return tuple(f.segment for f in self._flights)

    @property
    def awaited(self) -> Segment | None:
        """Return the segment whose outcome comes next in virtual time."""
        if not self._flights:
            return None
        return min(self._flights, key=lambda f: (f.ends, f.segment.trial_id)).segment

    @property
    def spent(self) -> float:
        """Return what was spent, in the budget's currency."""
        return self.ledger.spent(self.problem.budget.currency)

    @property
    def remaining(self) -> float:
        """Return the budget that is neither spent nor needed by segments in flight."""
        return self.problem.budget.limit - self.spent - sum(f.cost for f in self._flights)

    def poll(self) -> Event | None:
        """Return the next event that needs no outcome, or ``None``."""
        if self.over:
            return None
        if self._must_recommend:
            payload = recommendation_to_json(self._strategy.recommend())
            return Event("recommended", {**payload, "spent": number(self.spent)})
        idle = self.problem.workers - len(self._flights)
        if idle > 0 and self._stopping is None and not self._blocked:
            return self._ask(idle)
        if not self._flights:
            why = self._stopping or "the strategy waits although nothing is in flight"
            return Event("ended", {"reason": why})
        return None

    def finish(self, outcome: Outcome) -> Event:
        """Return the event of the awaited segment's outcome.

        Raises:
            ContractError: The outcome is of another segment.
        """
        if outcome.segment != self.awaited:
            raise ContractError(f"got the outcome of {outcome.segment}; wanted {self.awaited}")
        seconds = self.problem.budget.currency == "s"
        return Event("finished", outcome_to_json(outcome, seconds))

    def apply(self, event: Event) -> None:
        """Change the state by an event, fresh or recorded.

        Raises:
            JournalError: A recorded event that cannot follow the ones before it.
        """
        if self.over and event.type in ("asked", "finished", "recommended", "ended"):
            raise JournalError(f"an event {event.type!r} after the search had ended")
        if event.type == "asked":
            self._apply_asked(event.payload)
        elif event.type == "finished":
            self._apply_finished(outcome_from_json(event.payload))
        elif event.type == "recommended":
            self.recommendation = recommendation_from_json(event.payload)
            self._must_recommend = False
        elif event.type == "ended":
            self.ended = str(event.payload["reason"])

    def _ask(self, idle: int) -> Event:
        rng_seed = derive_seed(self._seed, "ask", self._asks)
        context = AskContext(
            rng=np.random.default_rng(rng_seed),
            torch_seed=derive_seed(rng_seed, "torch"),
            now=self.now,
            running=self.in_flight,
            history=self.history,
            remaining=self.remaining,
            ask=self._asks,
        )
        proposals = list(self._strategy.ask(idle, context))
        work = [p for p in proposals if isinstance(p, (Start, Resume, Fork))]
        if len(work) > idle:
            raise ContractError(
                f"strategy {self._strategy.info.name}: got {len(work)} proposals of work; "
                f"wanted at most {idle}"
            )
        accepted: list[Proposal] = []
        refused: list[Proposal] = []
        remaining = self.remaining
        slack = SLACK * self.problem.full_cost()
        touched: set[int] = set()
        merging = {i for f in self._flights for i, _ in f.segment.merge}
        for proposal in proposals:
            self._check(proposal, touched, merging)
            if isinstance(proposal, (Start, Resume, Fork)):
                cost = self._cost(proposal)
                if cost > remaining + slack:
                    refused.append(proposal)
                    continue
                remaining -= cost
            accepted.append(proposal)
        return Event(
            "asked",
            {
                "ask": self._asks,
                "idle": idle,
                "proposals": [proposal_to_json(p) for p in accepted],
                "refused": [proposal_to_json(p) for p in refused],
            },
        )

    def _cost(self, proposal: Start | Resume | Fork) -> float:
        config, start = self._origin(proposal)
        spec = self._controller(proposal)
        if spec:
            cost = planned_cost(self.problem, controller(spec), config, start, proposal.until)
        else:
            cost = self.problem.cost(config, start, proposal.until)
        if not cost > 0:
            raise ContractError(f"got an expected cost of {cost}; wanted a number above 0")
        return cost

    def _controller(self, proposal: Start | Resume | Fork) -> str:
        if isinstance(proposal, Start):
            return proposal.controller
        # a fork has the weights of its parent, not its controller
        return self.history[proposal.trial_id].controller if isinstance(proposal, Resume) else ""

    def _origin(self, proposal: Start | Resume | Fork) -> tuple[Any, int]:
        if isinstance(proposal, Start):
            return proposal.config, proposal.until if proposal.merge else 0
        record = self.history[proposal.trial_id]
        return (record.config if isinstance(proposal, Resume) else proposal.config), record.step

    def _check(self, proposal: Proposal, touched: set[int], merging: set[int]) -> None:
        """Refuse what cannot be.

        Args:
            proposal: What the strategy wants next.
            touched: Trials that this ask resumed, forked or retired; is added to.
            merging: Trials that must keep their checkpoints for merges; is added to.
        """
        who = f"strategy {self._strategy.info.name}"
        if isinstance(proposal, (Start, Fork)):
            try:
                self.problem.space.check(proposal.config)
            except JobsBenchError as err:
                raise ContractError(f"{who}: {err}") from err
            if self._pool is not None and proposal.config not in self._pool:
                raise ContractError(
                    f"{who}: got a configuration that is not in the pool: {proposal.config}"
                )
        if isinstance(proposal, Start) and proposal.controller:
            wanted = capabilities_of(controller(proposal.controller))
            lacking = sorted(wanted - self.problem.capabilities)
            if lacking:
                raise CapabilityError(
                    f"{who}: the controller {proposal.controller} needs {', '.join(lacking)}; the "
                    f"task gives {', '.join(sorted(self.problem.capabilities)) or 'nothing'}"
                )
        if isinstance(proposal, Start) and proposal.merge:
            self._check_merge(proposal, touched)
            merging.update(i for i, _ in proposal.merge)
            return
        if isinstance(proposal, (Resume, Fork, Retire)):
            if proposal.trial_id not in self.history:
                raise ContractError(
                    f"{who}: got trial {proposal.trial_id}; there are {len(self.history)} trials"
                )
            record = self.history[proposal.trial_id]
            if record.until is not None or proposal.trial_id in touched:
                raise ContractError(f"{who}: trial {proposal.trial_id} is running")
            if not isinstance(proposal, Retire) and (record.retired or record.failed):
                state = "retired" if record.retired else f"over ({record.status})"
                raise ContractError(f"{who}: trial {proposal.trial_id} is {state}")
            if not isinstance(proposal, Retire) and record.merge:
                raise ContractError(
                    f"{who}: trial {proposal.trial_id} is merged and cannot be trained on"
                )
            if not isinstance(proposal, Fork) and proposal.trial_id in merging:
                raise ContractError(f"{who}: trial {proposal.trial_id} is being merged")
            touched.add(proposal.trial_id)
        if isinstance(proposal, (Start, Resume, Fork)):
            steps = self.problem.fidelity.steps
            _, start = self._origin(proposal)
            if proposal.until not in steps or proposal.until <= start:
                raise ContractError(
                    f"{who}: got until={proposal.until}; wanted one of {steps} above {start}"
                )

    def _check_merge(self, proposal: Start, touched: set[int]) -> None:
        """Refuse a merge of anything but adapters of one kind that are there and stand alike."""
        who = f"strategy {self._strategy.info.name}"
        if "merge" not in self.problem.capabilities:
            raise CapabilityError(
                f"{who}: a merged trial needs merge; the task gives "
                f"{', '.join(sorted(self.problem.capabilities)) or 'nothing'}"
            )
        if proposal.controller:
            raise ContractError(
                f"{who}: got the controller {proposal.controller} for a merged trial; wanted none"
            )
        ids = [i for i, _ in proposal.merge]
        if len(set(ids)) < len(ids) or not all(math.isfinite(c) for _, c in proposal.merge):
            raise ContractError(
                f"{who}: got merge={proposal.merge}; wanted each trial once, with a finite number"
            )
        kept = [a.name for a in self.problem.space.axes if a.block != "data"]
        for i in ids:
            if i not in self.history:
                raise ContractError(f"{who}: got trial {i}; there are {len(self.history)} trials")
            record = self.history[i]
            if record.until is not None or i in touched:
                raise ContractError(f"{who}: trial {i} is running")
            if not record.ok or record.retired or record.merge:
                state = "merged" if record.merge else "retired" if record.retired else "over"
                raise ContractError(f"{who}: trial {i} is {state} and has no adapter to merge")
            if record.step != proposal.until:
                raise ContractError(
                    f"{who}: trial {i} stands at step {record.step}; a merged trial until "
                    f"{proposal.until} wants all its parents there"
                )
            differ = [n for n in kept if record.config.get(n) != proposal.config.get(n)]
            if differ:
                raise ContractError(
                    f"{who}: trial {i} has another {', '.join(differ)} than the merged trial; "
                    "wanted parents that differ in the data alone"
                )

    def _apply_asked(self, payload: dict[str, Any]) -> None:
        if payload["ask"] != self._asks:
            raise JournalError(f"got ask {payload['ask']}, wanted {self._asks}")
        self._asks += 1
        # a simulator may have the strategy's own time count; a live study leaves it out
        self._thought_until = max(self._thought_until, self.now) + payload.get("thought", 0.0)
        proposals = [proposal_from_json(p) for p in payload["proposals"]]
        launched = 0
        for proposal in proposals:
            if isinstance(proposal, Retire):
                self.history[proposal.trial_id].retired = True
            elif isinstance(proposal, (Start, Resume, Fork)):
                self._launch(proposal)
                launched += 1
        if payload["refused"]:
            self._stopping = "the budget cannot pay for what the strategy wants next"
        elif any(isinstance(p, Done) for p in proposals):
            self._stopping = "the strategy is done"
        only_waits = any(isinstance(p, Wait) for p in proposals)
        self._blocked = launched < payload["idle"] or only_waits

    def _launch(self, proposal: Start | Resume | Fork) -> None:
        cost = self._cost(proposal)
        config, start = self._origin(proposal)
        trial_id = proposal.trial_id if isinstance(proposal, Resume) else len(self.history)
        segment = Segment(
            trial_id=trial_id,
            config=config,
            start=start,
            until=proposal.until,
            seed=derive_seed(self._seed, "trial", trial_id),
            parent=proposal.trial_id if isinstance(proposal, Fork) else None,
            controller=self._controller(proposal),
            merge=proposal.merge if isinstance(proposal, Start) else (),
        )
        self.history.open(segment, proposal.note)
        self._flights.append(Flight(segment, self._thought_until + cost, cost))

    def _apply_finished(self, outcome: Outcome) -> None:
        flight = next((f for f in self._flights if f.segment == outcome.segment), None)
        if flight is None:
            raise JournalError(f"an outcome of {outcome.segment}, which was not in flight")
        self._flights.remove(flight)
        self.now = max(self.now, flight.ends)
        self.ledger.add(outcome.charges)
        self.history.close(outcome)
        self._strategy.tell([outcome])
        self._blocked = False
        self._must_recommend = True
        if self._stopping is None and self.spent >= self.problem.budget.limit * (1 - 1e-9):
            self._stopping = "the budget is spent"


def newly_launched(before: Sequence[Segment], after: Sequence[Segment]) -> list[Segment]:
    """Return the segments in flight now that were not before."""
    known = set(before)
    return [s for s in after if s not in known]
