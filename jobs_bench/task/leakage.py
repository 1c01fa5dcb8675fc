"""Finds training rows that give evaluation questions away, and drops or refuses them.

Two signs, on normalised words (case, punctuation and spacing do not count): the whole question
stands in the row (*verbatim*), or the two share `N_GRAM` words in a row (*overlap*), the length
that GPT-3's clean-up used (Brown et al. 2020, appendix C). A question of fewer than `SHORT` words,
such as ``3 + 4 =``, says too little in normalised form: there the row's prompt must equal the
question's, letter for letter.

Dropping is on the safe side: another question with the same stem goes too. What it is not: a search
for paraphrases or translations.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from jobs_bench.errors import InputError
from jobs_bench.task.finetune import Domain, Row

N_GRAM: Final = 13
SHORT: Final = 5

Leak = Literal["verbatim", "overlap"]
Words = tuple[str, ...]

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class LeakReport:
    """What was found, by domain, in training and held-out rows together.

    Attributes:
        rows: Rows that were looked at.
        verbatim: Rows that hold a whole evaluation question.
        overlap: Rows that share a long run of words with one, and are not verbatim.
        example: The beginning of one such question, empty without leaks.
    """

    rows: int
    verbatim: Mapping[str, int] = field(default_factory=dict)
    overlap: Mapping[str, int] = field(default_factory=dict)
    example: str = ""

    @property
    def total(self) -> int:
        """Return the number of leaking rows."""
        return sum(self.verbatim.values()) + sum(self.overlap.values())

    def __str__(self) -> str:
        named = [
            f"{name}: {self.verbatim.get(name, 0)} verbatim, {self.overlap.get(name, 0)} overlap"
            for name in dict.fromkeys([*self.verbatim, *self.overlap])
        ]
        return f"{self.total} of {self.rows} rows ({'; '.join(named) or 'none'})"


def words(text: str) -> Words:
    """Return the words of `text`: compatibility-normalised, lower case, letters and digits only."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


class LeakIndex:
    """Evaluation questions, arranged for quick look-up.

    Args:
        questions: Bare texts, without few-shot examples, templates or answers.
        prompts: The same questions as a row's prompt would be written.
    """

    def __init__(self, questions: Sequence[str], prompts: Sequence[str] = ()) -> None:
        self._exact = {prompt.strip() for prompt in (*questions, *prompts)}
        # whole questions and runs, by their first SHORT words: one look-up a word of a row
        self._whole: dict[Words, set[Words]] = {}
        self._runs: dict[Words, set[Words]] = {}
        for question in questions:
            w = words(question)
            if len(w) >= SHORT:
                self._whole.setdefault(w[:SHORT], set()).add(w)
                self._runs.setdefault(w[:SHORT], set())
            for i in range(len(w) - N_GRAM + 1):
                self._runs.setdefault(w[i : i + SHORT], set()).add(w[i : i + N_GRAM])

    def find(self, row: Row) -> Leak | None:
        """Return how `row` gives a question away, or ``None``."""
        if row.prompt.strip() in self._exact:
            return "verbatim"
        w = words(f"{row.prompt} {row.answer}")
        found: Leak | None = None
        for i in range(len(w) - SHORT + 1):
            start = w[i : i + SHORT]
            if start not in self._runs:
                continue
            if any(w[i : i + len(whole)] == whole for whole in self._whole.get(start, ())):
                return "verbatim"
            if w[i : i + N_GRAM] in self._runs[start]:
                found = "overlap"
        return found


def drop_leaks(
    domains: Sequence[Domain], questions: Sequence[str], prompts: Sequence[str] = ()
) -> tuple[tuple[Domain, ...], LeakReport]:
    """Return `domains` without rows that give one of `questions` away, and what was dropped.

    Args:
        domains: Training and held-out rows are both looked at.
        questions: Bare texts of visible and hidden questions.
        prompts: The same questions as a row's prompt would be written.

    Raises:
        InputError: Nothing of a domain would be left.
    """
    index = LeakIndex(questions, prompts)
    kept: list[Domain] = []
    counts: dict[Leak, dict[str, int]] = {"verbatim": {}, "overlap": {}}
    seen = 0
    example = ""
    for domain in domains:
        sides: list[list[Row]] = []
        for rows in (domain.rows, domain.held_out):
            clean: list[Row] = []
            for row in rows:
                seen += 1
                leak = index.find(row)
                if leak is None:
                    clean.append(row)
                    continue
                counts[leak][domain.name] = counts[leak].get(domain.name, 0) + 1
                example = example or row.prompt[:80]
            sides.append(clean)
        if not sides[0]:
            raise InputError(
                f"every row of the domain {domain.name!r} gives an evaluation question away (such "
                f"as {example!r}); wanted training rows from elsewhere: leave the domain out"
            )
        kept.append(replace(domain, rows=sides[0], held_out=sides[1]))
    return tuple(kept), LeakReport(seen, counts["verbatim"], counts["overlap"], example)


def refuse_leaks(domains: Sequence[Domain], questions: Sequence[str]) -> None:
    """Check that no row holds one of `questions` whole.

    Raises:
        InputError: One does; overlap alone is let pass.
    """
    index = LeakIndex(questions)
    for domain in domains:
        for row in (*domain.rows, *domain.held_out):
            if index.find(row) == "verbatim":
                raise InputError(
                    f"the training domain {domain.name!r} holds an evaluation question: "
                    f"{row.prompt[:80]!r}; wanted rows that do not: filter them with drop_leaks"
                )
