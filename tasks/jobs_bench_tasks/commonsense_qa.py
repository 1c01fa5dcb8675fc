"""CommonsenseQA: questions about everyday things, five lettered options."""

from __future__ import annotations

from typing import ClassVar

from jobs_bench.task.text_spec import ACC, GOLD_BPB
from jobs_bench_tasks._benchmark import Benchmark, Plan


class CommonsenseQa(Benchmark):
    """CommonsenseQA, validation split (the test answers are not public)."""

    plan: ClassVar[Plan] = Plan(
        name="commonsense_qa",
        summary="Questions about everyday things with five lettered options.",
        files=("val",),
        metrics=(ACC, GOLD_BPB),
    )
