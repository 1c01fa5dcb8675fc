"""WikiText-2: how well a model predicts encyclopaedia articles."""

from __future__ import annotations

from typing import ClassVar

from jobs_bench.task.text_spec import BITS_PER_BYTE, BYTE_PERPLEXITY, WORD_PERPLEXITY
from jobs_bench_tasks._benchmark import Benchmark, Plan


class WikiText(Benchmark):
    """WikiText-2, test split: whole articles, detokenised, each token predicted once.

    Words and bytes are those of the article as it was written, as in lm-evaluation-harness. Its
    file is the raw one: numbers on a file with ``<unk>`` are not comparable with published ones.
    Articles are long (about 4,500 tokens), hence few of them.
    """

    plan: ClassVar[Plan] = Plan(
        name="wikitext",
        summary="Encyclopaedia articles, scored whole.",
        files=("test",),
        metrics=(WORD_PERPLEXITY, BYTE_PERPLEXITY, BITS_PER_BYTE),
        shots_from=(),
        counts=(6, 16),
    )
