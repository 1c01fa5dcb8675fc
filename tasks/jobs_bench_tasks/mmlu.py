"""MMLU: exam questions of 57 subjects, four lettered options."""

from __future__ import annotations

from typing import ClassVar

from jobs_bench.task.text_spec import ACC, GOLD_BPB
from jobs_bench_tasks._benchmark import Benchmark, Plan


class Mmlu(Benchmark):
    """MMLU, test split, all subjects; every question weighs the same.

    MMLU has no training set: its development and validation splits are the in-domain source.
    Few-shot examples (5 by convention, ``shots=5`` with a `max_length` of 1024 or so) are the first
    ones of the subject's development split.
    """

    plan: ClassVar[Plan] = Plan(
        name="mmlu",
        summary="Exam questions of 57 subjects with four lettered options.",
        files=("test",),
        metrics=(ACC, GOLD_BPB),
        shots_from=("dev",),
        shots_in_order=True,
    )
