"""What `jobs` leaves beside its recommendation: tables and curves, as ``jobs-bench explain`` reads.

An artifact holds ``title`` and ``text``, and may hold a ``table`` (``columns``, ``rows``) and
``curves`` (each ``label``, ``x``, ``y``) with ``x_label``, ``y_label``.
"""

from __future__ import annotations

import math

from jobs_bench.strategy.contract import Artifact
from jobs_bench_strategies.jobs.beliefs import Beliefs
from jobs_bench_strategies.jobs.split import Verdict


def explain(beliefs: Beliefs, verdict: Verdict, horizon: int) -> list[Artifact]:
    """Return the split of the budget, the predictors, their calibration, and the bound."""
    found = [_split(beliefs, verdict, horizon), _predictors(beliefs)]
    if beliefs.at_horizon and beliefs.rungs:
        found.append(_calibration(beliefs))
    return found + _bound(verdict)


def _split(beliefs: Beliefs, verdict: Verdict, horizon: int) -> Artifact:
    steps = [at for _, at in beliefs.standing]
    rows = [[step, steps.count(step)] for step in sorted({*steps, horizon})]
    return Artifact(
        "split",
        {
            "title": "How far trials were taken",
            "text": verdict.reason,
            "table": {"columns": ["step", "trials that stand there"], "rows": rows},
        },
    )


def _predictors(beliefs: Beliefs) -> Artifact:
    names = sorted({name for rung in beliefs.rungs.values() for name in rung.rank})
    rows = [
        [
            step,
            rung.name + (" (abstains)" if rung.abstains else ""),
            len(rung.finals),
            _number(beliefs.errors[step]),
            *(_number(rung.rank.get(name, math.nan)) for name in names),
        ]
        for step, rung in beliefs.rungs.items()
    ]
    return Artifact(
        "predictors",
        {
            "title": "Which predictor is believed at each step",
            "text": "Rank correlations with finals, each predicted without the trial itself; the "
            "standard deviation is that of a prediction, in the unit of the score.",
            "table": {
                "columns": ["step", "predictor", "finals", "sd", *(f"rank: {n}" for n in names)],
                "rows": rows,
            },
        },
    )


def _calibration(beliefs: Beliefs) -> Artifact:
    curves = [
        {
            "label": f"step {step}",
            "x": [_number(x) for x in rung.held_out.tolist()],
            "y": [_number(y) for y in rung.finals.tolist()],
            "line": False,
        }
        for step, rung in beliefs.rungs.items()
        if len(rung.finals) > 1
    ]
    return Artifact(
        "calibration",
        {
            "title": "Predicted and measured finals",
            "text": "Each prediction was made without the trial itself.",
            "curves": curves,
            "x_label": "predicted score",
            "y_label": "measured score",
        },
    )


def _bound(verdict: Verdict) -> list[Artifact]:
    split, errors = verdict.split, verdict.errors
    if split is None or errors is None:
        return []
    counts = list(verdict.counts)
    return [
        Artifact(
            "regret-bound",
            {
                "title": "Bound on the average regret by number of pilots",
                "text": f"Smallest at N = {split.N}; b = {verdict.norm:.2f}, up to a constant.",
                "curves": [
                    {"label": "r(N)", "x": list(split.counts), "y": list(split.regrets)},
                ],
                "x_label": "full pilot runs N",
                "y_label": "bound, standard deviations",
            },
        ),
        Artifact(
            "predictor-error",
            {
                "title": "Error of the predictor by number of full runs behind it",
                "text": f"sqrt(s0^2 + k^2 / N) with s0 = {errors.s0:.3f}, k = {errors.k:.3f}.",
                "curves": [
                    {"label": "held out", "x": counts, "y": list(verdict.measured), "line": False},
                    {"label": "fitted", "x": counts, "y": [errors.at(n) for n in counts]},
                ],
                "x_label": "full runs N",
                "y_label": "error, standard deviations",
            },
        ),
        Artifact(
            "information-gain",
            {
                "title": "Maximum information gain",
                "text": "Greedy, on the configurations tried and uniform ones.",
                "curves": [
                    {
                        "label": "gamma_T",
                        "x": list(range(len(verdict.gains))),
                        "y": list(verdict.gains),
                    }
                ],
                "x_label": "evaluations T",
                "y_label": "nats",
            },
        ),
    ]


def _number(x: float) -> float | None:
    return float(f"{x:.6g}") if math.isfinite(x) else None
