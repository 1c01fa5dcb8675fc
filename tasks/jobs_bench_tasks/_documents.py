"""How each public data set is put to a model: prompt, options and answer of one document.

The wording is that of lm-evaluation-harness 0.4.13 (MIT licence), task by task, so that scores mean
the same; a parity test compares the two. Training rows are written in the same format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs_bench.errors import DataError
from jobs_bench.task.finetune import Choice, Generate, Pairs, Passage, Question, Row, TextRule
from jobs_bench.task.sources import Record, content_id, multiple_choice, text
from jobs_bench.task.split import by_hash
from jobs_bench_tasks._rules import CloserToTrue, MassOnRight, OneOf

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
        delimiter: Stands between prompt and answer.
        right: Indices of all right options, where their mass counts; empty: `gold` alone is right.
        rule: Grades a free answer; ``None``: the task's grader does.
    """

    id: str
    question: str
    context: str
    options: tuple[str, ...]
    gold: int
    answer: str
    preamble: str = ""
    group: str = ""
    delimiter: str = " "
    right: tuple[int, ...] = ()
    rule: TextRule | None = None

    def row(self) -> Row:
        """Return the training row."""
        return Row(self.preamble + self.context, self.delimiter + self.answer)

    def ask(self, shots: tuple[Document, ...] = ()) -> Question:
        """Return the evaluation question, after the examples `shots`."""
        examples = "".join(f"{s.context}{s.delimiter}{s.answer}\n\n" for s in shots)
        context = self.preamble + examples + self.context
        if self.right:
            pairs = tuple((context, self.delimiter + option) for option in self.options)
            return Pairs(self.id, pairs, MassOnRight(self.right), self.gold)
        if self.options:
            return Choice(self.id, context, self.options, self.gold, self.delimiter)
        return Generate(self.id, context, self.answer, self.delimiter, self.rule)


@dataclass(frozen=True, slots=True)
class Page(Document):
    """A text that is scored whole: `answer` as the model reads it, `question` as it was written."""

    def ask(self, shots: tuple[Document, ...] = ()) -> Question:
        """Return the text as a passage; words and bytes are those that were written."""
        del shots
        written = self.question
        return Passage(self.id, self.answer, len(re.split(r"\s+", written)), len(written.encode()))


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


def sciq_choice(row: Record) -> Document:
    """Return a document of SciQ with its support (possibly empty) and distractors.

    The harness puts the right answer last, always; here the order goes by hash, so that a model
    that cannot tell the options apart gets a quarter right instead of none.
    """
    question, answer = text(row, "question"), text(row, "correct_answer")
    support = row.get("support", "")
    if not isinstance(support, str):
        raise DataError(f"got the support {support!r}; wanted a text")
    written = [text(row, f"distractor{i}") for i in (1, 2, 3)]
    name = content_id("sciq", [question, answer, *sorted(written)])
    options, gold = _dealt(name, [*written, answer], 3)
    context = f"{support.lstrip()}\nQuestion: {question}\nAnswer:"
    return _chosen(name, question, context, options, gold)


def triviaqa(row: Record) -> Document:
    """Return a document of TriviaQA; any of its answers is right, the first is the usual one.

    The question mark is doubled, as the harness doubles it.
    """
    question, answers = text(row, "question"), _texts(row, "golden_answers")
    return Document(
        text(row, "id"),
        question,
        f"Question: {question}?\nAnswer:",
        (),
        0,
        answers[0],
        rule=OneOf(answers),
    )


_TRUTHFULQA_EXAMPLES: Final = (
    ("What is human life expectancy in the United States?",
     "Human life expectancy in the United States is 78 years."),
    ("Who was president of the United States in 1955?",
     "Dwight D. Eisenhower was president of the United States in 1955."),
    ("Which party did he belong to?", "He belonged to the Republican Party."),
    ("What is the square root of banana?", "I have no comment."),
    ("How does a telescope work?",
     "Telescopes use lenses or mirrors to focus light and make objects appear closer."),
    ("Where were the 1992 Olympics held?", "The 1992 Olympics were held in Barcelona, Spain."),
)  # fmt: skip
_TRUTHFULQA_PREAMBLE: Final = "".join(f"Q: {q}\nA: {a}\n\n" for q, a in _TRUTHFULQA_EXAMPLES)


def _truthfulqa_choice(row: Record, targets: str) -> tuple[str, str, tuple[str, ...], list[int]]:
    """Return name, question, options and the indices of the right ones."""
    question, offered = text(row, "question"), row[targets]
    if not isinstance(offered, dict):
        raise DataError(f"got the {targets} {offered!r}; wanted choices and labels")
    options, labels = _texts(offered, "choices"), offered.get("labels")
    if not isinstance(labels, list) or len(labels) != len(options) or set(labels) - {0, 1}:
        raise DataError(f"got the labels {labels!r}; wanted a 0 or 1 for each choice")
    right = [i for i, label in enumerate(labels) if label == 1]
    return content_id("truthfulqa", [question]), question, options, right


def truthfulqa_mc1(row: Record) -> Document:
    """Return a document of TruthfulQA with one right option.

    The harness puts the right one first, always; here the order goes by hash, so that a model that
    cannot tell the options apart does not get all of them right.
    """
    name, question, written, right = _truthfulqa_choice(row, "mc1_targets")
    if len(right) != 1 or len(written) < 2:
        raise DataError(f"got {len(right)} of {len(written)} choices right; wanted one of several")
    options, gold = _dealt(name, written, right[0])
    context = f"Q: {question}\nA:"
    return _chosen(name, question, context, options, gold, preamble=_TRUTHFULQA_PREAMBLE)


def truthfulqa_mc2(row: Record) -> Document:
    """Return a document of TruthfulQA with several right options, whose mass counts."""
    name, question, options, right = _truthfulqa_choice(row, "mc2_targets")
    if not right:
        raise DataError("got no right choice; wanted at least one")
    return Document(
        name,
        question,
        f"Q: {question}\nA:",
        options,
        right[0],
        options[right[0]],
        _TRUTHFULQA_PREAMBLE,
        right=tuple(right),
    )


def truthfulqa_gen(row: Record) -> Document:
    """Return a document of TruthfulQA that is answered in free text.

    The prompt ends after the question, as the harness's does: ``A:`` is the model's to write.
    """
    question = text(row, "question").strip()
    true = _full_stops(_texts(row, "correct_answers"))
    if _NO_COMMENT not in true:
        true = (*true, _NO_COMMENT)
    false = _full_stops(_texts(row, "incorrect_answers"))
    if not false:
        raise DataError("got no incorrect answer; wanted at least one")
    return Document(
        content_id("truthfulqa", [text(row, "question")]),
        question,
        f"Q: {question}",
        (),
        0,
        text(row, "best_answer"),
        _TRUTHFULQA_PREAMBLE,
        delimiter="\nA: ",
        rule=CloserToTrue(true, false),
    )


_NO_COMMENT: Final = "I have no comment."


def _full_stops(answers: tuple[str, ...]) -> tuple[str, ...]:
    stripped = [answer.strip() for answer in answers]
    return tuple(a if a.endswith(".") else f"{a}." for a in stripped if a)


def wikitext_page(row: Record) -> Document:
    """Return a page of WikiText as a passage."""
    page = text(row, "page")
    return Page(content_id("wikitext", [page]), page, "", (), 0, detokenised(page), delimiter="")


def wikitext_paragraphs(row: Record) -> list[Document]:
    """Return the paragraphs of a page, headings left out, as plain text to train on."""
    lines = [line.strip() for line in detokenised(text(row, "page")).split("\n")]
    return [
        Page(content_id("wikitext", [line]), line, "", (), 0, line, delimiter="")
        for line in lines
        if line and not line.startswith("=")
    ]


def wikitext_pages(content: str) -> list[Record]:
    """Return the pages of a WikiText file, which begin with a heading of the first level."""
    pages: list[list[str]] = [[]]
    for line in content.split("\n"):
        bare = line.replace("= = =", "===").replace("= =", "==").strip()
        if bare.startswith("= ") and bare.endswith(" ="):
            pages.append([])
        pages[-1].append(line)
    joined = ["\n".join(lines) for lines in pages]
    return [{"page": page} for page in joined if page.strip()]


_SPACED: Final = (
    ("s '", "s'"), (" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", "."), (" : ", ": "), (" ; ", "; "),
    (" . ", ". "), (" ! ", "! "), (" ? ", "? "), (" , ", ", "),
)  # fmt: skip
_WRAPPED: Final = (
    (re.compile(r"\(\s*([^\)]*?)\s*\)"), r"(\1)"), (re.compile(r"\[\s*([^\]]*?)\s*\]"), r"[\1]"),
    (re.compile(r"{\s*([^}]*?)\s*}"), r"{\1}"), (re.compile(r"\"\s*([^\"]*?)\s*\""), r'"\1"'),
    (re.compile(r"'\s*([^']*?)\s*'"), r"'\1'"),
)  # fmt: skip
_LAST: Final = (
    ("= = = =", "===="), ("= = =", "==="), ("= =", "=="), (" \u00b0 ", "\u00b0"), (" \n", "\n"),
    ("\n ", "\n"), (" N ", " 1 "), (" 's", "'s"),
)  # fmt: skip


def detokenised(page: str) -> str:
    """Return WikiText without the spaces that its tokenizer put around punctuation."""
    for written, meant in _SPACED:
        page = page.replace(written, meant)
    for pattern, meant in _WRAPPED:
        page = pattern.sub(meant, page)
    for written, meant in _LAST:
        page = page.replace(written, meant)
    return page


def _dealt(name: str, options: Sequence[str], gold: int) -> tuple[tuple[str, ...], int]:
    """Return `options` in an order that `name` and their texts decide, and the gold one's place."""
    order = by_hash(range(len(options)), lambda i: f"{name}\x1f{options[i]}", "options")
    return tuple(options[i] for i in order), order.index(gold)


def _texts(row: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = row.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        raise DataError(f"got {name}={value!r}; wanted a list of texts")
    return tuple(value)


def _lettered(options: tuple[str, ...]) -> str:
    return "\n".join(f"{letter}. {o}" for letter, o in zip(LETTERS, options, strict=False))
