"""GSM8K: grade-school word problems, answered in free text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Final

from jobs_bench.task.contract import Metric
from jobs_bench.task.finetune import Generation
from jobs_bench.task.text_spec import EXACT_MATCH, GOLD_BPB
from jobs_bench_tasks._benchmark import Benchmark, Plan

EXACT_MATCH_FLEXIBLE: Final = Metric("exact_match_flexible")

_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_FLEXIBLE = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_IGNORED = (re.compile(","), re.compile(r"\$"), re.compile(r"(?s).*#### "), re.compile(r"\.$"))


def grade(generated: str, gold: str) -> Mapping[str, float]:
    """Return ``exact_match`` (strict) and ``exact_match_flexible`` of one answer, 0 or 1.

    Strict takes the first number after ``####``, flexible the last number there is; both sides lose
    commas, dollar signs, everything up to ``#### `` and a final full stop, and case.
    """
    wanted = _normal(gold)
    strict = _STRICT.search(generated)
    flexible: str | None = None
    for match in _FLEXIBLE.finditer(generated):
        flexible = match[0]
    return {
        "exact_match": float(strict is not None and _normal(strict[1]) == wanted),
        "exact_match_flexible": float(flexible is not None and _normal(flexible) == wanted),
    }


def _normal(answer: str) -> str:
    for pattern in _IGNORED:
        answer = pattern.sub("", answer)
    return answer.lower()


class Gsm8k(Benchmark):
    """GSM8K, test split. The score is strict exact match: a number after ``####``.

    A model that never saw the format scores about 0 without few-shot examples; ``gold_bpb`` tells
    small models apart long before. Generation is slow, hence fewer questions than elsewhere.
    """

    plan: ClassVar[Plan] = Plan(
        name="gsm8k",
        summary="Grade-school word problems, answered with a worked solution.",
        files=("test",),
        metrics=(EXACT_MATCH, EXACT_MATCH_FLEXIBLE, GOLD_BPB),
        generation=Generation(
            stop=("Question:", "</s>", "<|im_end|>"), max_new_tokens=256, grade=grade
        ),
        counts=(48, 96),
    )
