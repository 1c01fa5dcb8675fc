"""Hyperband with real pausing and resuming."""

from __future__ import annotations

from collections.abc import Sequence

from jobs_bench.strategy.contract import AskContext, Problem, StrategyFactory, StrategyInfo
from jobs_bench.strategy.history import TrialRecord
from jobs_bench.trial import Note, Proposal, Resume, Retire, Start
from jobs_bench_strategies._drawing import tried
from jobs_bench_strategies._observing import Observing
from jobs_bench_strategies._spending import Purse, end
from jobs_bench_strategies.rungs._core import Rung, bracket, checked_eta, judge, need_resume
from jobs_bench_strategies.rungs._sampling import Sampler, from_option


class Hyperband(Observing):
    """Successive halving in brackets that trade the number of trials against their first length.

    Reference: Li et al. 2018 (JMLR 18:185), algorithm 1 and table 1. What differs: the rungs
    are those of the task's allowed steps that lie nearest to ``horizon / eta**k``; promoted
    trials resume where they stand instead of training anew, so a bracket costs less than the
    paper's; a failed trial is the worst of its rung; the brackets repeat until the budget is
    over; a slot that would idle at a rung's barrier works for the next bracket. A halving that
    cannot be paid for to its end is still begun: its best trial is then recommended from the
    highest rung reached. Cost of an ask: one pass over the history.

    Args:
        eta: One in `eta` trials goes on, above 1.
        sampler: Strategy that says what to try (it sees the study up to its highest rung with
            enough scores as though that were the horizon); by default uniform draws.
    """

    info = StrategyInfo(
        "hyperband",
        "Successive halving in brackets, losers are retired and winners resumed",
        needs=frozenset({"resume"}),
        reference="Li et al. 2018, JMLR 18:185",
    )

    def __init__(self, *, eta: float = 3.0, sampler: StrategyFactory | None = None) -> None:
        super().__init__()
        self.eta = checked_eta(eta)
        self.sampler: Sampler = from_option(sampler)

    def setup(self, problem: Problem) -> None:
        """Take in the problem and lay out the brackets.

        Raises:
            CapabilityError: The task cannot resume a trial.
        """
        need_resume(self.info.name, problem)
        super().setup(problem)
        self.brackets = self._brackets(problem)

    def _brackets(self, problem: Problem) -> tuple[tuple[Rung, ...], ...]:
        """Return the brackets in the order of their turn."""
        steps = problem.fidelity.rungs(self.eta)
        return tuple(bracket(steps, self.eta, s) for s in reversed(range(len(steps))))

    def ask(self, n: int, ctx: AskContext) -> Sequence[Proposal]:
        """Return promotions first, then new trials, of the oldest bracket that wants any."""
        purse = Purse(self.problem, ctx)
        taken = tried(ctx.history)
        members = _by_bracket(ctx)
        pool = self.problem.candidates
        work: list[Proposal] = []
        retired: list[Proposal] = []
        broke = False
        # at most `n` brackets can be opened by one ask: each fills at least one slot
        for number in range(max(members, default=-1) + 1 + n):
            rungs = self.brackets[number % len(self.brackets)]
            closed = pool is not None and taken.issuperset(pool)
            verdict = judge(rungs, members.get(number, []), closed)
            retired += [Retire(t.trial_id) for t in verdict.drop]
            for trial, until, rung in verdict.promote:
                if len(work) < n and purse.take(trial.config, trial.step, until):
                    note: Note = {"bracket": number, "rung": rung}
                    work.append(Resume(trial.trial_id, until, note))
            for _ in range(0 if broke else min(verdict.starts, n - len(work))):
                pick = self.sampler(self.problem, ctx, taken, rungs[0].step)
                if pick is None:
                    break
                if not purse.take(pick.config, 0, rungs[0].step):
                    broke = True  # what is left is for promotions
                    break
                taken.add(pick.config)
                note = pick.noted({"bracket": number, "rung": 0})
                work.append(Start(pick.config, rungs[0].step, note))
        return [*retired, *(work or [end(ctx)])]


def _by_bracket(ctx: AskContext) -> dict[int, list[TrialRecord]]:
    members: dict[int, list[TrialRecord]] = {}
    for trial in ctx.history:
        for note in trial.notes[:1]:
            number = note.get("bracket")
            if isinstance(number, int):
                members.setdefault(number, []).append(trial)
    return members
