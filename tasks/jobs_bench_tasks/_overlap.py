"""How much two short texts have in common: BLEU and ROUGE of a sentence.

As lm-evaluation-harness 0.4.13 takes them from sacrebleu (Post 2018, arXiv:1804.08771; tokens of
mteval-v14, exponential smoothing) and rouge_score (Lin 2004), in percent; a parity test compares.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

BLEU_ORDER: Final = 4

_OTHER = re.compile(r"[^a-z0-9]+")


def bleu(answer: str, reference: str) -> float:
    """Return the BLEU of `answer` against one reference, ``[0, 100]``."""
    got, wanted = _words(answer), _words(reference)
    right = [(_ngrams(got, n) & _ngrams(wanted, n)).total() for n in range(1, BLEU_ORDER + 1)]
    if not any(right) or len(got) < BLEU_ORDER:
        return 0.0
    halved = 1.0
    logs = 0.0
    for n, hits in enumerate(right, start=1):
        total = len(got) - n + 1
        if hits == 0:
            halved *= 2
            logs += math.log(100 / (halved * total))
        else:
            logs += math.log(100 * hits / total)
    brevity = math.exp(min(0.0, 1 - len(wanted) / len(got)))
    return brevity * math.exp(logs / BLEU_ORDER)


def rouge(answer: str, reference: str) -> tuple[float, float, float]:
    """Return ROUGE-1, ROUGE-2 and summary-level ROUGE-L of `answer`, F-measures ``[0, 100]``."""
    got, wanted = (text.replace(" . ", ".\n") for text in (answer, reference))
    a, b = _tokens(got), _tokens(wanted)
    counted = []
    for n in (1, 2):
        x, y = _ngrams(a, n), _ngrams(b, n)
        counted.append(_f_measure((x & y).total(), x.total(), y.total()))
    return counted[0], counted[1], _rouge_l(_sentences(got), _sentences(wanted))


def _words(text: str) -> list[str]:
    """Return the tokens of mteval-v14: punctuation stands alone except between digits."""
    kinds = {c: unicodedata.category(c)[0] for c in set(text)}
    text = _apart(text.rstrip(), lambda a, b: kinds[a] != "N" and kinds[b] == "P", "{} {} ")
    kinds[" "] = "Z"
    text = _apart(text, lambda a, b: kinds[a] == "P" and kinds[b] != "N", " {} {}")
    return "".join(f" {c} " if kinds[c] == "S" else c for c in text).split()


def _apart(text: str, which: Callable[[str, str], bool], form: str) -> str:
    """Return `text` with those pairs of neighbours rewritten that `which` picks, left to right."""
    out: list[str] = []
    i = 0
    while i < len(text):
        if i + 1 < len(text) and which(text[i], text[i + 1]):
            out.append(form.format(text[i], text[i + 1]))
            i += 2
        else:
            out.append(text[i])
            i += 1
    return "".join(out)


def _tokens(text: str) -> list[str]:
    return _OTHER.sub(" ", text.lower()).split()


def _sentences(text: str) -> list[list[str]]:
    return [_tokens(line) for line in text.split("\n") if line]


def _ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _f_measure(hits: int, of_answer: int, of_reference: int) -> float:
    precision, recall = hits / max(of_answer, 1), hits / max(of_reference, 1)
    total = precision + recall
    return 100 * 2 * precision * recall / total if total > 0 else 0.0


def _rouge_l(answer: Sequence[list[str]], reference: Sequence[list[str]]) -> float:
    """Return the F-measure of the union of longest common subsequences, no word counted twice."""
    left = Counter(t for s in answer for t in s)
    wanted = Counter(t for s in reference for t in s)
    of_answer, of_reference = left.total(), wanted.total()
    hits = 0
    for sentence in reference:
        union = {i for other in answer for i in _common(sentence, other)}
        for i in sorted(union):
            token = sentence[i]
            if left[token] > 0 and wanted[token] > 0:
                hits += 1
                left[token] -= 1
                wanted[token] -= 1
    return _f_measure(hits, of_answer, of_reference)


def _common(reference: Sequence[str], other: Sequence[str]) -> list[int]:
    """Return places in `reference` of one longest common subsequence."""
    table = [[0] * (len(other) + 1) for _ in range(len(reference) + 1)]
    for i, a in enumerate(reference, start=1):
        for j, b in enumerate(other, start=1):
            longest = max(table[i - 1][j], table[i][j - 1])
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else longest
    found: list[int] = []
    i, j = len(reference), len(other)
    while i and j:
        if reference[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            found.append(i)
        elif table[i][j - 1] > table[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return found
