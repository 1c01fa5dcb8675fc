"""The contract every strategy meets.

A strategy is told a `Problem` once and outcomes as they come; it is asked for proposals and, at any
time, for its recommendation. **What it proposes depends on the problem, the outcomes told and the
context alone**: no generator, no clock, no state that an ask leaves behind. That is what lets a
killed study resume by replaying its journal: recorded proposals are never computed again, so state
that only an ask had changed would be lost. What must be remembered of a proposal (its bracket, its
rung) goes into the proposal's ``note`` and comes back in the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jobs_bench.budget import Budget
from jobs_bench.fidelity import Capability, Fidelity
from jobs_bench.space.axes import Block
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.space import Space
from jobs_bench.strategy.history import History
from jobs_bench.texts import Read
from jobs_bench.trial import Outcome, Proposal, Segment


@dataclass(frozen=True, slots=True)
class StrategyInfo:
    """What is known of a strategy before it runs.

    Attributes:
        name: As registered.
        summary: One sentence.
        blocks: Blocks it searches; the others stay at the default recipe.
        needs: Capabilities the task must have.
        reference: Paper or source, empty for folklore.
        target_blind: It does not look at the target task's score.
    """

    name: str
    summary: str
    blocks: tuple[Block, ...] = ("data", "model", "train")
    needs: frozenset[Capability] = frozenset()
    reference: str = ""
    target_blind: bool = False


class CostModel(Protocol):
    """Expected cost of a piece of training, in the currency of the budget."""

    def __call__(self, config: Configuration, start: int, until: int) -> float:
        """Return the cost of taking `config` from `start` until `until`, evaluations included.

        Where both are the same step it is the cost of scoring a merged trial there, for tasks with
        the capability ``merge``.
        """
        ...


@dataclass(frozen=True, slots=True)
class Problem:
    """All that a strategy is told before it starts.

    Attributes:
        space: What may be proposed (where `candidates` is given, only those).
        fidelity: Steps at which trials can stand.
        budget: The total, in one currency.
        cost: Expected cost of a segment in that currency.
        default: The default recipe with the default mixture: a point of `space`.
        metric: Name of the metric behind the score.
        score_bounds: Lowest and highest possible score; infinite where unbounded.
        domains: Training domains and their rows.
        candidates: The finite pool of a pool task, else ``None``.
        capabilities: What the task can give.
        workers: Segments that may run at the same time.
        parts: Metrics and weights whose sum the score is, as the task declares them; often empty.
        texts: Reads the training rows and visible questions, ``None`` without that capability.
    """

    space: Space
    fidelity: Fidelity
    budget: Budget
    cost: CostModel
    default: Configuration
    metric: str = "score"
    score_bounds: tuple[float, float] = (-float("inf"), float("inf"))
    domains: tuple[tuple[str, int], ...] = ()
    candidates: tuple[Configuration, ...] | None = None
    capabilities: frozenset[Capability] = frozenset({"resume", "curves"})
    workers: int = 1
    parts: tuple[tuple[str, float], ...] = ()
    texts: Read | None = None

    def full_cost(self) -> float:
        """Return the expected cost of a full run of the default recipe."""
        return self.cost(self.default, 0, self.fidelity.horizon)


@dataclass(frozen=True, slots=True)
class AskContext:
    """What holds at the moment of an ask.

    Attributes:
        rng: Generator made from the study's seed and the number of this ask; the only source of
            randomness a strategy has.
        torch_seed: Seed for libraries that want one, ``[0, 2**63)``.
        now: Virtual time: expected cost of what a worker has run, in the budget's currency.
        running: Segments in flight.
        history: Every trial proposed so far, with its notes and its curve.
        remaining: Budget not yet spent and not needed by `running`, in the budget's currency.
        ask: Number of this ask, from 0.
    """

    rng: np.random.Generator
    torch_seed: int
    now: float
    running: tuple[Segment, ...]
    history: History
    remaining: float
    ask: int = 0


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What a strategy would train if the search ended now.

    Attributes:
        config: The configuration.
        score: Score that the strategy expects at the horizon; ``None`` before it knows anything.
        low: Lower end of its 95 % interval, ``None`` where it gives none.
        high: Upper end.
        reason: Why this one, in one sentence.
        trial_id: The trial that it stems from, where there is one.
        controller: Spec of the controller that it is trained with, empty for none.
    """

    config: Configuration
    score: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    trial_id: int | None = None
    controller: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something a strategy wants stored with the study: a name and JSON-ready content."""

    name: str
    content: dict[str, object] = field(default_factory=dict)


@runtime_checkable
class Strategy(Protocol):
    """Ask, tell, recommend."""

    info: StrategyInfo

    def setup(self, problem: Problem) -> None:
        """Take in the problem; called once, before anything else.

        Raises:
            InputError: An option that cannot be under this problem, a capability that is missing.
        """
        ...

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return at most `n` proposals of work, and any number of `Retire`.

        `Wait` means nothing before another outcome is told, `Done` nothing ever again; an empty
        answer means `Wait`. With nothing in flight, `Wait` ends the study.
        """
        ...

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes, each exactly once, failed ones included."""
        ...

    def recommend(self) -> Recommendation:
        """Return the present recommendation; must work before any outcome was told."""
        ...


@runtime_checkable
class HasArtifacts(Protocol):
    """A strategy that has something to show beside its recommendation."""

    def artifacts(self) -> Sequence[Artifact]:
        """Return what the runtime should store under ``artifacts/`` of the study folder."""
        ...


class StrategyFactory(Protocol):
    """Makes a strategy from its options: usually the class itself.

    Options are the keyword parameters, each annotated ``int``, ``float``, ``str``, ``bool`` or
    `StrategyFactory` (a nested strategy, as in ``independent(bo)``), each with a default where the
    strategy has one.
    """

    # `*args: Any, **options: Any` is what lets a class with typed keyword parameters pass
    def __call__(self, *args: Any, **options: Any) -> Strategy:
        """Return a new strategy."""
        ...
