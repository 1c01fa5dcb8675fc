"""A table of the analytic problem, for tests of whatever replays tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from jobs_bench.table.design import design, part_of
from jobs_bench.table.header import TableHeader, TableMetric, Target
from jobs_bench.table.table import TRIAL_COLUMNS, Table, spread
from jobs_bench.testing.synthetic import FULL_RUN_FLOP, FULL_RUN_TOK, Synthetic
from jobs_bench.trial import Segment

LOSS = TableMetric("loss", higher_is_better=False, high=float("inf"), unit="nats")
HIDDEN = TableMetric("hidden_loss", higher_is_better=False, high=float("inf"), at="horizon")


def synthetic_table(configs: int = 30, seeds: int = 2, problem: Synthetic | None = None) -> Table:
    """Return a sound table with one target, ``goal``, whose oracle column is free of noise.

    Args:
        configs: Configurations of the design.
        seeds: Training seeds of each.
        problem: What is recorded.
    """
    problem = problem or Synthetic()
    steps = problem.fidelity.steps
    header = TableHeader(
        name="synthetic",
        summary="The analytic problem.",
        licence="Apache-2.0",
        reference="jobs_bench.testing.synthetic",
        space=problem.space,
        fidelity=problem.fidelity,
        metrics=(LOSS, HIDDEN),
        targets=(Target("goal", "loss", "hidden_loss", {"loss": "loss"}),),
        domains=tuple((d, 1000) for s in problem.space.simplexes for d in s.domains),
        full_run_s=10.0,
    )
    drawn = design(problem.space, configs, seed=1)
    trials: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for seed in range(seeds):
        for number, config in enumerate(drawn):
            outcome = problem.run(Segment(0, config, 0, steps[-1], 1000 * seed + number))
            share = outcome.charges[0].flop / FULL_RUN_FLOP
            trial = len(trials)
            trials.append(
                {
                    "trial": trial,
                    "config": number,
                    "seed": seed,
                    "part": part_of(number),
                    "status": "ok",
                    "run_s": 10.0 * share,
                    "train_tok": FULL_RUN_TOK * share,
                    "train_flop": FULL_RUN_FLOP * share,
                    "eval_tok.goal": 10.0,
                    "eval_flop.goal": 0.001 * FULL_RUN_FLOP,
                }
            )
            truth = -problem.truth(config)
            for point in outcome.points:
                row = {"trial": trial, "step": point.step, "loss": max(-point.score.mean, 0.0)}
                row |= {"loss.se": point.score.se}
                if point.step == steps[-1]:
                    row |= {"hidden_loss": max(truth, 0.0), "hidden_loss.se": 0.001}
                points.append(row)
    costs = {"eval_tok.goal": "float64", "eval_flop.goal": "float64"}
    frame = pd.DataFrame(trials).astype({**TRIAL_COLUMNS, **costs})
    columns = spread(problem.space, [drawn[t["config"]] for t in trials])
    return Table(header, pd.concat([frame, columns], axis=1), pd.DataFrame(points))
