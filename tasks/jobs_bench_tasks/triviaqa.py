"""TriviaQA: trivia, answered with a few words from memory."""

from __future__ import annotations

from typing import ClassVar

from jobs_bench.task.finetune import Generation
from jobs_bench.task.text_spec import EXACT_MATCH, GOLD_BPB
from jobs_bench_tasks._benchmark import Benchmark, Plan


class TriviaQa(Benchmark):
    """TriviaQA without context, validation split; a subset of 1,000 where the whole is not there.

    An answer ends at a new line, a full stop or a comma, and is right when it is one of the
    accepted ones, case and punctuation aside. The prompt doubles the question mark, as the
    harness's does. The harness lets an answer run on to 256 tokens; here it ends after 64, more
    than any accepted answer has.
    """

    plan: ClassVar[Plan] = Plan(
        name="triviaqa",
        summary="Trivia, answered with a few words from memory.",
        files=("val", "test_1000"),
        metrics=(EXACT_MATCH, GOLD_BPB),
        generation=Generation(stop=("\n", ".", ","), max_new_tokens=64),
        counts=(48, 96),
    )
