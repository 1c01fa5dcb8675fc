"""TruthfulQA: questions that many people answer falsely; in free text and with options.

Its authors ask that it be put in no training corpus. It is therefore no training domain of any
task, and what leaks of it into other sources is dropped as anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from jobs_bench.task.contract import Metric
from jobs_bench.task.finetune import Generation
from jobs_bench.task.sources import Fields, Record
from jobs_bench.task.text_spec import ACC, GOLD_BPB
from jobs_bench_tasks._benchmark import Benchmark, Plan
from jobs_bench_tasks._corpora import Corpus
from jobs_bench_tasks._documents import (
    Document,
    truthfulqa_gen,
    truthfulqa_mc1,
    truthfulqa_mc2,
)
from jobs_bench_tasks._rules import OVERLAPS

EVALUATION_ONLY: Final = "evaluation-only"
"""Tag of a task that must never be trained on."""


def _asked(document: Callable[[Record], Document], fields: Fields) -> Corpus:
    return Corpus(
        "truthfulqa",
        {"question": str, **fields},
        document,
        (),
        "Apache-2.0",
        "Lin et al. 2022, arXiv:2109.07958",
    )


def _overlap_metrics(name: str) -> tuple[Metric, ...]:
    return (
        Metric(f"{name}_acc"),
        Metric(f"{name}_max", high=100.0),
        Metric(f"{name}_diff", low=-100.0, high=100.0),
    )


class TruthfulQaGen(Benchmark):
    """TruthfulQA in free text: is the answer more like true answers than like false ones?

    The score is ``bleu_acc``. The prompt holds six fixed examples and ends after the question: a
    model that does not write ``A:`` itself is not stopped from scoring, but loses by the format.
    """

    plan: ClassVar[Plan] = Plan(
        name="truthfulqa_gen",
        summary="Questions that many people answer falsely, answered in free text.",
        files=("v1_generation_817", "generation"),
        metrics=(*(m for name in OVERLAPS for m in _overlap_metrics(name)), GOLD_BPB),
        asked=_asked(
            truthfulqa_gen,
            {"best_answer": str, "correct_answers": list, "incorrect_answers": list},
        ),
        shots_from=(),
        generation=Generation(stop=("\n\n",), max_new_tokens=256),
        counts=(48, 96),
        tags=(EVALUATION_ONLY,),
    )


class TruthfulQaMc1(Benchmark):
    """TruthfulQA with one right option; the order of the options goes by hash."""

    plan: ClassVar[Plan] = Plan(
        name="truthfulqa_mc1",
        summary="Questions that many people answer falsely: one of several options is true.",
        files=("v1_multiple_choice_817", "multiple_choice"),
        metrics=(ACC, GOLD_BPB),
        asked=_asked(truthfulqa_mc1, {"mc1_targets": dict}),
        shots_from=(),
        tags=(EVALUATION_ONLY,),
    )


class TruthfulQaMc2(Benchmark):
    """TruthfulQA with several true options: ``acc`` is the share of probability on them."""

    plan: ClassVar[Plan] = Plan(
        name="truthfulqa_mc2",
        summary="Questions that many people answer falsely: how likely are the true options?",
        files=("v1_multiple_choice_817", "multiple_choice"),
        metrics=(ACC, GOLD_BPB),
        asked=_asked(truthfulqa_mc2, {"mc2_targets": dict}),
        shots_from=(),
        tags=(EVALUATION_ONLY,),
    )
