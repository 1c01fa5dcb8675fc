"""AI2's reasoning challenge: grade-school science questions, an easy and a hard set."""

from __future__ import annotations

from typing import ClassVar

from jobs_bench.task.text_spec import ACC, ACC_NORM, GOLD_BPB
from jobs_bench_tasks._benchmark import Benchmark, Plan


class ArcEasy(Benchmark):
    """ARC-Easy, test split: the option with the likeliest text wins."""

    plan: ClassVar[Plan] = Plan(
        name="arc_easy",
        summary="Grade-school science questions, the easy set of AI2's ARC.",
        files=("test",),
        metrics=(ACC, ACC_NORM, GOLD_BPB),
    )


class ArcChallenge(Benchmark):
    """ARC-Challenge, test split: likelihoods are divided by the option's characters."""

    plan: ClassVar[Plan] = Plan(
        name="arc_challenge",
        summary="Grade-school science questions that word co-occurrence cannot answer.",
        files=("test",),
        metrics=(ACC_NORM, ACC, GOLD_BPB),
    )
