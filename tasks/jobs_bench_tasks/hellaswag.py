"""HellaSwag: which of four endings goes on from a short description."""

from __future__ import annotations

from typing import ClassVar

from jobs_bench.task.text_spec import ACC, ACC_NORM, GOLD_BPB
from jobs_bench_tasks._benchmark import Benchmark, Plan


class Hellaswag(Benchmark):
    """HellaSwag, validation split; a subset of 1,000 of it where the whole is not there."""

    plan: ClassVar[Plan] = Plan(
        name="hellaswag",
        summary="Which of four endings goes on from a short description.",
        files=("val", "val_1000"),
        metrics=(ACC_NORM, ACC, GOLD_BPB),
    )
