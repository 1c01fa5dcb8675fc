"""What the model-free strategies share: they remember outcomes and recommend the best observed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import Problem, Recommendation
from jobs_bench.strategy.history import History, TrialRecord
from jobs_bench.trial import Outcome
from jobs_bench_strategies._drawing import nearest

Z95 = 1.959963984540054


class Observing:
    """Keeps the problem and every outcome told; recommends the best observed.

    The best score at the highest step that any trial reached is the classic choice of random search
    and of the rung family (Li et al. 2018, section 3). It is optimistic under noise: the reason
    says so, and the interval is that of one measurement.
    """

    problem: Problem

    def __init__(self) -> None:
        self.seen = History()

    def setup(self, problem: Problem) -> None:
        """Take in the problem."""
        self.problem = problem
        self.seen = History()

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Take in outcomes."""
        self.seen.extend(outcomes)

    def recommend(self) -> Recommendation:
        """Return the best observed at the highest step reached."""
        return best_observed(self.problem, self.seen)


def fallback(problem: Problem, reason: str) -> Recommendation:
    """Return the default recipe, on a pool task the candidate nearest to it."""
    return Recommendation(default_config(problem), reason=reason)


def default_config(problem: Problem) -> Configuration:
    """Return the default recipe, on a pool task the candidate nearest to it."""
    pool = problem.candidates
    if not pool or problem.default in pool:
        return problem.default
    return nearest(problem.space, problem.default, pool)


def no_data_reason(seen: History) -> str:
    """Return why nothing better than the default recipe is known."""
    failed = sum(t.failed for t in seen)
    if failed and failed == len(seen):
        return f"the default recipe: all {failed} trials failed"
    if failed:
        return f"the default recipe: no trial has a finite score ({failed} failed)"
    return "the default recipe: no trial has a finite score yet"


def finite_score(trial: TrialRecord, step: int) -> float | None:
    """Return the score at exactly `step` of a trial that did not fail, where it is finite."""
    score = None if trial.failed else trial.score_at(step)
    return score if score is not None and math.isfinite(score) else None


def best_observed(problem: Problem, seen: History) -> Recommendation:
    """Return the trial with the best score at the highest step that has a finite score."""
    best: tuple[int, float, int] | None = None
    for trial in seen:
        for point in trial.points:
            if not trial.failed and math.isfinite(point.score.mean):
                key = (point.step, point.score.mean, -trial.trial_id)
                best = key if best is None else max(best, key)
    if best is None:
        return fallback(problem, no_data_reason(seen))
    step, score, minus_id = best
    trial = seen[-minus_id]
    point = next(p for p in trial.points if p.step == step)
    se = point.score.se
    known = math.isfinite(se)
    rivals = len(seen.at_least(step))
    return Recommendation(
        trial.config,
        score,
        score - Z95 * se if known else None,
        score + Z95 * se if known else None,
        f"best observed score at step {step} of {problem.fidelity.horizon} among {rivals} trials, "
        "not corrected for having been picked as the best",
        trial.trial_id,
    )
