"""Which public data sets there are: what a row has, how it is read, its licence and its paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs_bench.task.sources import Fields, Record
from jobs_bench_tasks._documents import (
    Document,
    arc,
    commonsense_qa,
    gsm8k,
    headqa,
    hellaswag,
    mmlu,
    pubmedqa,
    sciq,
    sciq_choice,
    triviaqa,
    wikitext_page,
    wikitext_pages,
    wikitext_paragraphs,
)


@dataclass(frozen=True, slots=True)
class Corpus:
    """A data set and how it is read.

    Attributes:
        dataset: Folder name.
        fields: Fields of a row, with their types.
        document: Makes a document of a row.
        train: Files that are training data, all of them together; each with its stand-ins.
        licence: Of the data.
        reference: The paper.
        keep: Whether a row is trained on; ``None``: all are.
        parts: Makes training documents of a row; ``None``: `document` makes the one.
        records: Makes rows of a file that is plain text, ``<split>.txt``.
        by_name: No domain of other tasks unless they name it.
        stand_in: Folder of the questions where `dataset` has none; empty: there is none.
    """

    dataset: str
    fields: Fields
    document: Callable[[Record], Document]
    train: tuple[tuple[str, ...], ...]
    licence: str
    reference: str
    keep: Callable[[Record], bool] | None = None
    parts: Callable[[Record], Sequence[Document]] | None = None
    records: Callable[[str], Sequence[Record]] | None = None
    by_name: bool = False
    stand_in: str = ""


_CHOICE: Final[Fields] = {"question": str, "choices": list, "answer": int}
_PLAIN: Final[Fields] = {"question": str, "answer": str}
_ARC_PAPER = "Clark et al. 2018, arXiv:1803.05457"
_SCIQ_PAPER = "Welbl et al. 2017, arXiv:1707.06209"

CORPORA: Final[Mapping[str, Corpus]] = {
    "arc_challenge": Corpus(
        "arc_challenge",
        {"id": str, **_CHOICE},
        arc,
        (("train",),),
        "CC BY-SA 4.0",
        _ARC_PAPER,
    ),
    "arc_easy": Corpus(
        "arc_easy", {"id": str, **_CHOICE}, arc, (("train",),), "CC BY-SA 4.0", _ARC_PAPER
    ),
    "commonsense_qa": Corpus(
        "commonsense_qa",
        {"id": str, **_CHOICE},
        commonsense_qa,
        (("train",),),
        "MIT",
        "Talmor et al. 2019, arXiv:1811.00937",
    ),
    "gsm8k": Corpus(
        "gsm8k", _PLAIN, gsm8k, (("train",),), "MIT", "Cobbe et al. 2021, arXiv:2110.14168"
    ),
    "headqa_en": Corpus(
        "headqa_en",
        _CHOICE,
        headqa,
        (("train",),),
        "MIT",
        "Vilares and Gomez-Rodriguez 2019, arXiv:1906.04701",
        keep=lambda row: not row.get("image", False),
    ),
    "hellaswag": Corpus(
        "hellaswag",
        {"query": str, "choices": list, "answer": int},
        hellaswag,
        (("train",),),
        "MIT",
        "Zellers et al. 2019, arXiv:1905.07830",
    ),
    "mmlu": Corpus(
        "mmlu",
        {"subject": str, **_CHOICE},
        mmlu,
        (("dev",), ("val",)),
        "MIT",
        "Hendrycks et al. 2021, arXiv:2009.03300",
    ),
    "pubmedqa": Corpus(
        "pubmedqa",
        {"pmid": str, "question": str, "contexts": list, "final_decision": str},
        pubmedqa,
        (("train", "trainval_500"),),
        "MIT",
        "Jin et al. 2019, arXiv:1909.06146",
    ),
    "sciq": Corpus(
        "sciq",
        _PLAIN,
        sciq,
        (("train_qa_only",),),
        "CC BY-NC 3.0",
        _SCIQ_PAPER,
    ),
    "triviaqa": Corpus(
        "triviaqa",
        {"id": str, "question": str, "golden_answers": list},
        triviaqa,
        (("train",),),
        "unknown (questions), Apache-2.0 (code)",
        "Joshi et al. 2017, arXiv:1705.03551",
        stand_in="triviaqa_subset",
    ),
    "wikitext": Corpus(
        "wikitext2",
        {"page": str},
        wikitext_page,
        (("train",),),
        "CC BY-SA 3.0 and GFDL",
        "Merity et al. 2017, arXiv:1609.07843",
        parts=wikitext_paragraphs,
        records=wikitext_pages,
        by_name=True,
    ),
}

SCIQ_ASKED: Final = Corpus(
    "sciq",
    {
        "question": str,
        "distractor1": str,
        "distractor2": str,
        "distractor3": str,
        "correct_answer": str,
    },
    sciq_choice,
    (),
    "CC BY-NC 3.0",
    _SCIQ_PAPER,
)
