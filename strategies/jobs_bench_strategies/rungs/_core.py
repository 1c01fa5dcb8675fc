"""Rung arithmetic, kept apart from what to try: brackets, standings, promotions.

A *rung* is an allowed step; a *bracket* is one successive halving that starts at some rung. Which
configuration enters a bracket is the business of a `Sampler` (`_sampling`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.strategy.contract import Problem
from jobs_bench.strategy.history import TrialRecord


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung of a bracket: `n` trials are taken to `step`."""

    n: int
    step: int


def bracket(steps: Sequence[int], eta: float, s: int) -> tuple[Rung, ...]:
    """Return the rungs of bracket `s`, which uses the upper ``s + 1`` of `steps`.

    Li et al. 2018, table 1: ``n_0 = floor((s_max + 1) / (s + 1)) * eta**s`` trials, then
    ``floor(n_0 / eta**i)``. Their algorithm 1, line 3, has a ceiling around the product
    instead, which costs more than the bracket's share ``(s_max + 1) R`` that the same section
    states; the table is followed.
    """
    share = len(steps) // (s + 1)
    first = math.floor(share * eta**s + 1e-9)
    upper = steps[len(steps) - 1 - s :]
    return tuple(
        Rung(max(1, math.floor(first / eta**i + 1e-9)), step) for i, step in enumerate(upper)
    )


def ranked(trials: Iterable[TrialRecord], step: int) -> list[TrialRecord]:
    """Return the trials that reached `step` with a finite score, best first, older ones first.

    A trial that failed later keeps its place: who was dropped because of it cannot come back.
    """
    scored: list[tuple[float, TrialRecord]] = []
    for trial in trials:
        score = trial.score_at(step)
        if trial.step >= step and score is not None and math.isfinite(score):
            scored.append((score, trial))
    return [t for _, t in sorted(scored, key=lambda pair: (-pair[0], pair[1].trial_id))]


def settled(trial: TrialRecord, step: int) -> bool:
    """Return whether it is known how `trial` did at `step`: it got there, or it failed before."""
    return trial.failed or trial.step >= step


def paused(trial: TrialRecord, step: int) -> bool:
    """Return whether `trial` stands at exactly `step` and can be resumed."""
    return trial.step == step and trial.until is None and not (trial.failed or trial.retired)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a bracket wants next.

    Attributes:
        starts: New trials that may start at the first rung.
        promote: Trials to resume, best first, each with the step to go to and its rung number.
        drop: Trials that will never be resumed.
    """

    starts: int
    promote: tuple[tuple[TrialRecord, int, int], ...]
    drop: tuple[TrialRecord, ...]


def judge(rungs: Sequence[Rung], members: Sequence[TrialRecord], closed: bool) -> Verdict:
    """Return what the synchronous halving over `rungs` wants, given its `members`.

    A rung is judged once every trial that entered it is settled. Failed trials are the worst of
    their rung; when fewer than the next rung's `n` are left, all of them go on.

    Args:
        rungs: Of the bracket.
        members: Trials of the bracket, started or finished.
        closed: No further trial can start (the pool is used up).
    """
    starts = 0 if closed else max(rungs[0].n - len(members), 0)
    if starts:
        return Verdict(starts, (), ())
    promote: list[tuple[TrialRecord, int, int]] = []
    drop: list[TrialRecord] = []
    entered = list(members)
    for i, (rung, above) in enumerate(pairwise(rungs), start=1):
        if not all(settled(t, rung.step) for t in entered):
            break
        order = ranked(entered, rung.step)
        survivors, losers = order[: above.n], order[above.n :]
        drop += [t for t in losers if not t.retired]
        for t in survivors:
            if paused(t, rung.step):
                promote.append((t, above.step, i))
        entered = survivors
    return Verdict(0, tuple(promote), tuple(drop))


def checked_eta(eta: float) -> float:
    """Return `eta`.

    Raises:
        OptionError: It is not above 1.
    """
    if not (math.isfinite(eta) and eta > 1):
        raise OptionError(f"got eta={eta}; wanted a number above 1")
    return eta


def need_resume(name: str, problem: Problem) -> None:
    """Raise `CapabilityError` where the task cannot resume a trial."""
    if "resume" not in problem.capabilities:
        raise CapabilityError(f"{name} needs a task that can resume trials; this one cannot")


def upper_rungs(problem: Problem, eta: float, min_rung: int) -> tuple[int, ...]:
    """Return the rungs of `problem` from number `min_rung` on.

    Raises:
        OptionError: There is none.
    """
    rungs = problem.fidelity.rungs(eta)
    if not 0 <= min_rung < len(rungs):
        raise OptionError(
            f"got min_rung={min_rung}; wanted one of the {len(rungs)} rungs at {rungs}, from 0"
        )
    return rungs[min_rung:]
