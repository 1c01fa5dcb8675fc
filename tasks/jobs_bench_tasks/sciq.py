"""SciQ: science exam questions with a supporting paragraph."""

from __future__ import annotations

from typing import ClassVar

from jobs_bench.task.text_spec import ACC, ACC_NORM, GOLD_BPB
from jobs_bench_tasks._benchmark import Benchmark, Plan
from jobs_bench_tasks._corpora import SCIQ_ASKED


class SciQ(Benchmark):
    """SciQ, test split; the validation split where the test split has no options.

    The order of the options goes by hash. The in-domain training rows have question and answer
    alone, without paragraph and options, so there are no few-shot examples in the questions' form.
    """

    plan: ClassVar[Plan] = Plan(
        name="sciq",
        summary="Science exam questions with a supporting paragraph.",
        files=("test", "validation"),
        metrics=(ACC_NORM, ACC, GOLD_BPB),
        asked=SCIQ_ASKED,
        shots_from=(),
    )
