"""The contract of a controller: a rule that changes the mixture while a trial is trained.

A controller is a pure object. The evaluator trains until the end of a round, measures the signals
that the controller names, and asks for the shares of the next round. All that a controller
remembers is a flat mapping of named float arrays, which goes into the trial's checkpoint; the ends
of rounds depend on the horizon alone. So a trial that is paused and resumed equals one that is not.

What a controller has measured is charged: held-out losses as ``eval``, everything else (runs before
the trial, gradients, passes of a reference) as ``proxy``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np

from jobs_bench.fidelity import Capability
from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import Problem

Signal = Literal["domain_losses", "alignments", "excess"]
Memory = Mapping[str, np.ndarray]
"""Named float64 arrays."""

NEEDS: Final[Mapping[Signal, Capability]] = {
    "domain_losses": "domain_losses",
    "alignments": "domain_gradients",
    "excess": "reweight",
}
"""The capability behind each signal; every controller needs ``reweight`` besides."""

FORWARD: Final = 0.5
"""Operations of a forward pass, at most, as a share of a training step's."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What was measured over a round; arrays are ``(k,)``, in the order of the domains.

    Attributes:
        step: Optimiser steps taken when the round ended.
        horizon: Length of a full run.
        rows: Rows of each domain drawn in the round.
        train_losses: Mean training loss a labelled token over the round (nats), NaN for a domain
            of which no row was drawn.
        domain_losses: Mean held-out loss a labelled token now, where asked for.
        alignments: Inner product of the gradient on each domain's rows with that on the visible
            questions and their right answers, where asked for.
        norms: Euclidean norm of each domain's gradient, where `alignments` are asked for.
        excess: Mean over the round's labelled tokens of ``max(loss - loss of the reference, 0)``,
            NaN as for `train_losses`, where asked for.
    """

    step: int
    horizon: int
    rows: np.ndarray
    train_losses: np.ndarray
    domain_losses: np.ndarray | None = None
    alignments: np.ndarray | None = None
    norms: np.ndarray | None = None
    excess: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class ProxyRun:
    """A run of the same recipe that is made before the trial's first step.

    Attributes:
        shares: Mixture, ``(k,)``.
        steps: Its length, on the schedule of a full run.
    """

    shares: np.ndarray
    steps: int


@dataclass(frozen=True, slots=True)
class ProxyLosses:
    """Held-out losses, ``(k,)`` each, before and after a proxy run."""

    before: np.ndarray
    after: np.ndarray


@runtime_checkable
class Controller(Protocol):
    """Shares of the next round from what was measured over the last one.

    Attributes:
        signals: What it wants beside the training losses. With ``excess`` the last of its proxy
            runs is the reference.
    """

    signals: frozenset[Signal]

    def proxies(self, mixture: np.ndarray, horizon: int) -> Sequence[ProxyRun]:
        """Return the runs to be made first; most need none."""
        ...

    def ends(self, k: int, horizon: int) -> Sequence[int]:
        """Return the ascending steps of ``[0, horizon)`` after which the shares change."""
        ...

    def start(
        self, mixture: np.ndarray, horizon: int, proxies: Sequence[ProxyLosses]
    ) -> tuple[Memory, np.ndarray]:
        """Return the first memory and the shares of the first round.

        `proxies` has one entry for each run of `proxies`, none where ``domain_losses`` are not
        among the signals.
        """
        ...

    def update(self, memory: Memory, signals: Signals) -> tuple[Memory, np.ndarray]:
        """Return the memory and the shares ``(k,)`` of the next round; `memory` stays as it is."""
        ...


class ControllerFactory(Protocol):
    """Makes a controller from its options: usually the class itself."""

    def __call__(self, *args: Any, **options: Any) -> Controller:
        """Return a new controller."""
        ...


def capabilities_of(controller: Controller) -> frozenset[Capability]:
    """Return what a task must have for `controller`."""
    return frozenset({"reweight", *(NEEDS[s] for s in controller.signals)})


def even_ends(rounds: int, horizon: int) -> list[int]:
    """Return the ends of `rounds` even rounds, but for the last one, which ends the run."""
    ends = {round(horizon * i / rounds) for i in range(1, rounds)}
    return sorted(e for e in ends if 0 < e < horizon)


def planned_cost(
    problem: Problem, controller: Controller, config: Configuration, start: int, until: int
) -> float:
    """Return the expected cost of a segment under `controller`, in the budget's currency.

    It is the cost of the segment plus what the controller has measured, at the configuration's own
    mixture: held-out losses as a whole evaluation (they cost less), a gradient as a step, a pass of
    a reference as half a step.
    """
    k = len(problem.domains)
    horizon = problem.fidelity.horizon
    a_step, an_evaluation = _prices(problem, config)
    held_out = "domain_losses" in controller.signals
    measured = sum(start < end <= until or end == start == 0 for end in controller.ends(k, horizon))
    steps = evaluations = 0.0
    if start == 0:
        runs = controller.proxies(np.full(k, 1 / k), horizon)
        steps += sum(run.steps for run in runs)
        evaluations += 1 + len(runs) if held_out and runs else 0
    if held_out:
        evaluations += measured
    if "alignments" in controller.signals:
        steps += (k + 1) * measured
    if "excess" in controller.signals:
        steps += FORWARD * (until - start)
    return problem.cost(config, start, until) + steps * a_step + evaluations * an_evaluation


def _prices(problem: Problem, config: Configuration) -> tuple[float, float]:
    """Return the cost of a step and of an evaluation, 0 where the two cannot be told apart."""
    steps = (0, *problem.fidelity.steps)
    for first, second in pairwise(steps):
        if second - first > 1:
            a_step = problem.cost(config, first, second - 1) / (second - 1 - first)
            whole = problem.cost(config, first, second)
            return a_step, max(whole - a_step * (second - first), 0.0)
    horizon = problem.fidelity.horizon
    return problem.cost(config, 0, horizon) / horizon, 0.0
