"""How each public data set is put to a model: prompt, options and answer of one document.

The wording is that of lm-evaluation-harness 0.4.13 (MIT licence), task by task, so that scores mean
the same; a parity test compares the two. Training rows are written in the same format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from jobs_bench.errors import DataError
from jobs_bench.task.finetune import Choice, Generate, Question, Row
from jobs_bench.task.sources import Fields, Record, content_id, multiple_choice, text

LETTERS: Final = "ABCDE"


@dataclass(frozen=True, slots=True)
class Document:
    """One item of a data set, ready to be trained on or asked.

    Attributes:
        id: Stable name.
        question: The bare question, as leaks are looked for.
        context: The prompt, without trailing space.
        options: Texts to choose from; empty for free answers.
        gold: Index of the right option.
        answer: The right answer, without the space before it.
        preamble: Stands once before few-shot examples and prompt.
        group: Few-shot examples come from the same group.
    """

    id: str
    question: str
    context: str
    options: tuple[str, ...]
    gold: int
    answer: str
    preamble: str = ""
    group: str = ""

    def row(self) -> Row:
        """Return the training row."""
        return Row(self.preamble + self.context, f" {self.answer}")

    def ask(self, shots: tuple[Document, ...] = ()) -> Question:
        """Return the evaluation question, after the examples `shots`."""
        examples = "".join(f"{shot.context} {shot.answer}\n\n" for shot in shots)
        context = self.preamble + examples + self.context
        if self.options:
            return Choice(self.id, context, self.options, self.gold)
        return Generate(self.id, context, self.answer)


def _chosen(
    name: str,
    question: str,
    context: str,
    options: tuple[str, ...],
    gold: int,
    *,
    preamble: str = "",
    group: str = "",
) -> Document:
    return Document(name, question, context, options, gold, options[gold], preamble, group)


def arc(row: Record) -> Document:
    """Return a document of AI2's ARC, easy or challenge."""
    options, gold = multiple_choice(row)
    question = text(row, "question")
    return _chosen(text(row, "id"), question, f"Question: {question}\nAnswer:", options, gold)


def commonsense_qa(row: Record) -> Document:
    """Return a document of CommonsenseQA; the options are letters."""
    options, gold = multiple_choice(row)
    if len(options) != len(LETTERS):
        raise DataError(f"got {len(options)} choices; wanted {len(LETTERS)}")
    question = text(row, "question")
    context = f"Question: {question.strip()}\n{_lettered(options)}\nAnswer:"
    return _chosen(text(row, "id"), question, context, tuple(LETTERS), gold)


def gsm8k(row: Record) -> Document:
    """Return a document of GSM8K; the answer is the worked solution."""
    question, answer = text(row, "question"), text(row, "answer")
    context = f"Question: {question}\nAnswer:"
    return Document(content_id("gsm8k", [question]), question, context, (), 0, answer)


def headqa(row: Record) -> Document:
    """Return a document of HEAD-QA in English."""
    options, gold = multiple_choice(row)
    question = text(row, "question")
    name = content_id("headqa_en", [question, *options])
    return _chosen(name, question, f"Question: {question}\nAnswer:", options, gold)


def hellaswag(row: Record) -> Document:
    """Return a document of HellaSwag, whose texts were cleaned when the file was written."""
    options, gold = multiple_choice(row)
    query = text(row, "query")
    # `ind` alone is not unique: the two sources of HellaSwag count apart
    return _chosen(content_id("hellaswag", [query, *options]), query, query, options, gold)


def mmlu(row: Record) -> Document:
    """Return a document of MMLU; the options are letters and the subject is named first."""
    options, gold = multiple_choice(row)
    if len(options) != 4:
        raise DataError(f"got {len(options)} choices; wanted 4")
    question, subject = text(row, "question"), text(row, "subject")
    about = subject.replace("_", " ")
    return _chosen(
        content_id("mmlu", [subject, question, *options]),
        question,
        f"{question.strip()}\n{_lettered(options)}\nAnswer:",
        tuple(LETTERS[:4]),
        gold,
        preamble=f"The following are multiple choice questions (with answers) about {about}.\n\n",
        group=subject,
    )


def pubmedqa(row: Record) -> Document:
    """Return a document of PubMedQA."""
    options = ("yes", "no", "maybe")
    decision, contexts = text(row, "final_decision"), row["contexts"]
    if decision not in options:
        raise DataError(f"got the decision {decision!r}; wanted one of {', '.join(options)}")
    if not isinstance(contexts, list) or not all(isinstance(c, str) for c in contexts):
        raise DataError(f"got the contexts {contexts!r}; wanted a list of texts")
    question = text(row, "question")
    context = f"Abstract: {chr(10).join(contexts)}\nQuestion: {question}\nAnswer:"
    return _chosen(text(row, "pmid"), question, context, options, options.index(decision))


def sciq(row: Record) -> Document:
    """Return a document of SciQ from a question and its answer, without support or distractors."""
    question, answer = text(row, "question"), text(row, "answer")
    name = content_id("sciq", [question, answer])
    return Document(name, question, f"Question: {question}\nAnswer:", (), 0, answer)


def _lettered(options: tuple[str, ...]) -> str:
    return "\n".join(f"{letter}. {o}" for letter, o in zip(LETTERS, options, strict=False))


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
        keep: Whether a row is used; ``None``: all are.
    """

    dataset: str
    fields: Fields
    document: Callable[[Record], Document]
    train: tuple[tuple[str, ...], ...]
    licence: str
    reference: str
    keep: Callable[[Record], bool] | None = None


_CHOICE: Final[Fields] = {"question": str, "choices": list, "answer": int}
_PLAIN: Final[Fields] = {"question": str, "answer": str}
_ARC_PAPER = "Clark et al. 2018, arXiv:1803.05457"

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
        "Welbl et al. 2017, arXiv:1707.06209",
    ),
}
