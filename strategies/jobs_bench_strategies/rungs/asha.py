"""ASHA: successive halving that never waits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jobs_bench.errors import CapabilityError, OptionError
from jobs_bench.strategy.contract import AskContext, Problem, StrategyInfo
from jobs_bench.strategy.history import TrialRecord
from jobs_bench.trial import Proposal, Resume, Start
from jobs_bench_strategies._drawing import tried
from jobs_bench_strategies._observing import Observing
from jobs_bench_strategies._spending import Purse, end
from jobs_bench_strategies.rungs._core import Sampler, paused, ranked, settled, uniform


class Asha(Observing):
    """Asynchronous successive halving, promotion type.

    Reference: Li et al. 2020 (MLSys), algorithm 2. From the top rung down, a trial among the best
    ``1 / eta`` of its rung that was not promoted yet is resumed to the next rung; where there
    is none, a new trial starts at the lowest rung. What differs: rungs are the allowed steps
    nearest to ``horizon / eta**k``; a promotion that the remaining budget cannot pay for is
    passed over; a failed trial counts as the worst of the rung it was on its way to. Nothing is
    retired, since a paused trial may be promoted whenever its rung grows. Cost of an ask: one
    pass over the history for each rung.

    Args:
        eta: One in `eta` trials goes on, above 1.
        min_rung: Lowest rung to use, from 0 (the paper's minimum early-stopping rate ``s``).
    """

    info = StrategyInfo(
        "asha",
        "Asynchronous successive halving that promotes by resuming",
        needs=frozenset({"resume"}),
        reference="Li et al. 2020, MLSys",
    )

    def __init__(self, *, eta: float = 3.0, min_rung: int = 0) -> None:
        if not (math.isfinite(eta) and eta > 1):
            raise OptionError(f"got eta={eta}; wanted a number above 1")
        if min_rung < 0:
            raise OptionError(f"got min_rung={min_rung}; wanted 0 or more")
        super().__init__()
        self.eta = eta
        self.sampler: Sampler = uniform
        self.min_rung = min_rung

    def setup(self, problem: Problem) -> None:
        """Take in the problem and lay out the rungs.

        Raises:
            CapabilityError: The task cannot resume a trial.
            OptionError: There is no rung `min_rung`.
        """
        if "resume" not in problem.capabilities:
            raise CapabilityError("asha needs a task that can resume trials; this one cannot")
        super().setup(problem)
        rungs = problem.fidelity.rungs(self.eta)
        if self.min_rung >= len(rungs):
            raise OptionError(
                f"got min_rung={self.min_rung}; wanted one of the {len(rungs)} rungs at {rungs}"
            )
        self.steps = rungs[self.min_rung :]

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return up to `n` promotions or starts."""
        purse = Purse(self.problem, ctx)
        taken = tried(ctx.history)
        work: list[Proposal] = []
        for trial, rung in promotable(self.steps, self.eta, list(ctx.history)):
            if len(work) == n:
                break
            if purse.take(trial.config, trial.step, self.steps[rung]):
                work.append(Resume(trial.trial_id, self.steps[rung], {"rung": rung}))
        while len(work) < n:
            config = self.sampler(self.problem, ctx, taken)
            if config is None or not purse.take(config, 0, self.steps[0]):
                break
            taken.add(config)
            work.append(Start(config, self.steps[0], {"rung": 0}))
        return work or [end(ctx)]


def promotable(
    steps: Sequence[int], eta: float, trials: Sequence[TrialRecord]
) -> list[tuple[TrialRecord, int]]:
    """Return the trials that may go on, with the rung to go to; top rung first, best first."""
    found: list[tuple[TrialRecord, int]] = []
    for k in reversed(range(len(steps) - 1)):
        below = steps[k - 1] if k else 0
        # who failed on the way to a lower rung never entered this one
        population = [t for t in trials if settled(t, steps[k]) and t.step >= below]
        best = ranked(population, steps[k])[: math.floor(len(population) / eta + 1e-9)]
        found += [(t, k + 1) for t in best if paused(t, steps[k])]
    return found
