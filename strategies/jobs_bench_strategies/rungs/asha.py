"""ASHA: successive halving that never waits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from jobs_bench.strategy.contract import AskContext, Problem, StrategyFactory, StrategyInfo
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench.trial import Proposal, Resume, Retire, Start
from jobs_bench_strategies._drawing import tried
from jobs_bench_strategies._observing import Observing
from jobs_bench_strategies._spending import Purse, end
from jobs_bench_strategies.rungs._core import (
    checked_eta,
    need_resume,
    paused,
    ranked,
    settled,
    upper_rungs,
)
from jobs_bench_strategies.rungs._sampling import Sampler, from_option

Rule = Literal["promotion", "stopping"]


class Asha(Observing):
    """Asynchronous successive halving.

    Reference: Li et al. 2020 (MLSys), algorithm 2, for ``promotion``: from the top rung down, a
    trial among the best ``1 / eta`` of its rung that was not promoted yet is resumed to the next
    rung; where there is none, a new trial starts at the lowest rung. ``stopping`` (the variant of
    their section 3.3 and of Syne Tune) decides when a trial arrives: among the best ``1 / eta``
    (rounded up, so the first ones go on) of all that arrived so far it goes on at once, else it is
    given up for good. What differs: rungs are the allowed steps nearest to ``horizon / eta**k``;
    what the remaining budget cannot pay for is passed over; a failed trial counts as the worst of
    the rung it was on its way to. Under ``promotion`` nothing is retired, since a paused trial may
    be promoted whenever its rung grows. Cost of an ask: one pass over the history for each rung.

    Args:
        eta: One in `eta` trials goes on, above 1.
        min_rung: Lowest rung to use, from 0 (the paper's minimum early-stopping rate ``s``).
        rule: ``promotion`` or ``stopping``.
        sampler: Strategy that says what to try (it sees the study up to its highest rung with
            enough scores as though that were the horizon); by default uniform draws.
    """

    info = StrategyInfo(
        "asha",
        "Asynchronous successive halving that promotes by resuming, or stops on arrival",
        needs=frozenset({"resume"}),
        reference="Li et al. 2020, MLSys",
    )

    def __init__(
        self,
        *,
        eta: float = 3.0,
        min_rung: int = 0,
        rule: Rule = "promotion",
        sampler: StrategyFactory | None = None,
    ) -> None:
        super().__init__()
        self.eta = checked_eta(eta)
        self.min_rung = min_rung
        self.rule = rule
        self.sampler: Sampler = from_option(sampler)

    def setup(self, problem: Problem) -> None:
        """Take in the problem and lay out the rungs.

        Raises:
            CapabilityError: The task cannot resume a trial.
            OptionError: There is no rung `min_rung`.
        """
        need_resume(self.info.name, problem)
        super().setup(problem)
        self.steps = upper_rungs(problem, self.eta, self.min_rung)

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return up to `n` resumptions or starts, and who is given up."""
        purse = Purse(self.problem, ctx)
        taken = tried(ctx.history)
        steps = self._in_use(ctx.history)
        stopping = self.rule == "stopping"
        decide = arrived if stopping else promotable
        work: list[Proposal] = []
        for trial, rung in decide(steps, self.eta, list(ctx.history)):
            if len(work) == n:
                break
            if purse.take(trial.config, trial.step, steps[rung]):
                work.append(Resume(trial.trial_id, steps[rung], {"rung": rung}))
        while len(work) < n:
            pick = self.sampler(self.problem, ctx, taken, steps[0])
            if pick is None or not purse.take(pick.config, 0, steps[0]):
                break
            taken.add(pick.config)
            work.append(Start(pick.config, steps[0], pick.noted({"rung": 0})))
        losers = given_up(steps, self.eta, list(ctx.history)) if stopping else []
        return [*(Retire(t.trial_id) for t in losers), *(work or [end(ctx)])]

    def _in_use(self, history: History) -> tuple[int, ...]:
        """Return the rungs that trials may climb at present."""
        del history
        return self.steps


def promotable(
    steps: Sequence[int], eta: float, trials: Sequence[TrialRecord]
) -> list[tuple[TrialRecord, int]]:
    """Return the trials that may go on, with the rung to go to; top rung first, best first."""
    found: list[tuple[TrialRecord, int]] = []
    for k in reversed(range(len(steps) - 1)):
        population = _population(steps, k, trials)
        best = ranked(population, steps[k])[: math.floor(len(population) / eta + 1e-9)]
        found += [(t, k + 1) for t in best if paused(t, steps[k])]
    return found


def arrived(
    steps: Sequence[int], eta: float, trials: Sequence[TrialRecord]
) -> list[tuple[TrialRecord, int]]:
    """Return the trials on a rung that go on under ``stopping``, with the rung to go to."""
    return [(t, k + 1) for t, k, good in _verdicts(steps, eta, trials) if good]


def given_up(steps: Sequence[int], eta: float, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials on a rung that do not go on under ``stopping``."""
    return [t for t, _, good in _verdicts(steps, eta, trials) if not good]


def _verdicts(
    steps: Sequence[int], eta: float, trials: Sequence[TrialRecord]
) -> list[tuple[TrialRecord, int, bool]]:
    found: list[tuple[TrialRecord, int, bool]] = []
    for k in reversed(range(len(steps) - 1)):
        population = _population(steps, k, trials)
        order = ranked(population, steps[k])
        best = {t.trial_id for t in order[: math.ceil(len(population) / eta - 1e-9)]}
        here = [t for t in population if paused(t, steps[k])]
        found += [(t, k, t.trial_id in best) for t in here]
    return found


def _population(steps: Sequence[int], k: int, trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return who is known to have reached rung `k` or to have failed on the way from the one below.

    Who failed on the way to a lower rung never entered this one.
    """
    below = steps[k - 1] if k else 0
    return [t for t in trials if settled(t, steps[k]) and t.step >= below]
