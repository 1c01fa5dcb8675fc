"""PubMedQA: does an abstract answer its own question with yes, no or maybe?"""

from __future__ import annotations

from typing import ClassVar

from jobs_bench.task.text_spec import ACC, GOLD_BPB
from jobs_bench_tasks._benchmark import Benchmark, Plan


class PubMedQa(Benchmark):
    """PubMedQA, the 500 test questions that experts labelled.

    Abstracts are long: a `max_length` of 512 keeps most training rows whole. The always-yes answer
    gets 55 %.
    """

    plan: ClassVar[Plan] = Plan(
        name="pubmedqa",
        summary="Research questions answered from their abstract: yes, no or maybe.",
        files=("test", "test_500"),
        metrics=(ACC, GOLD_BPB),
        shots_from=("train", "trainval_500"),
    )
