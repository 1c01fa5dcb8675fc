"""HEAD-QA in English: exams for positions in the Spanish health-care system."""

from __future__ import annotations

from typing import ClassVar

from jobs_bench.task.text_spec import ACC, ACC_NORM, GOLD_BPB
from jobs_bench_tasks._benchmark import Benchmark, Plan


class HeadQaEn(Benchmark):
    """HEAD-QA in English, test split."""

    plan: ClassVar[Plan] = Plan(
        name="headqa_en",
        summary="Health-care exams in English translation.",
        files=("test",),
        metrics=(ACC, ACC_NORM, GOLD_BPB),
    )
