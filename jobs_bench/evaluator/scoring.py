"""Scores a model on questions, by the definitions of lm-evaluation-harness.

All but the answers to `Generate` questions are forward passes with logits at continuation positions
only and shared beginnings computed once (`jobs_bench.evaluator.likelihood`). `Generate` questions
are answered greedily (`jobs_bench.evaluator.decoding`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jobs_bench.errors import DataError
from jobs_bench.evaluator.decoding import generate
from jobs_bench.evaluator.likelihood import Likelihood, Request, score_requests
from jobs_bench.task.finetune import (
    Choice,
    Exact,
    Generate,
    Generation,
    Pairs,
    Passage,
    Question,
    Row,
    right_answer,
)
from jobs_bench.train.batches import Encoded, encode_row
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.trial import Value

DIGITS = 5
"""Decimals that are kept of what a question came to."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A question's part of a metric that is no mean: nats over a weight, summed before dividing.

    Attributes:
        nats: Negative log-likelihood.
        weight: Words or bytes.
        turn: ``exp``: a perplexity; ``bits``: bits a weight.
    """

    nats: float
    weight: int
    turn: Literal["exp", "bits"]

    @property
    def value(self) -> float:
        """Return the question's own value."""
        return _turned(self.nats / self.weight, self.turn)


Grades = Mapping[str, float | Ratio]
"""The metrics of one question."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What a set of questions came to.

    Attributes:
        metrics: Mean, standard error and count under each name.
        tokens: Tokens that went through the model, padding excluded.
        items: What each question came to, in order: each metric that all questions have, and
            ``gold_logprob``, the log-probability of the right answer in nats.
    """

    metrics: dict[str, Value]
    tokens: int
    items: dict[str, tuple[float, ...]]


class Scorer:
    """Scores a fixed set of questions as often as one likes; tokenised once.

    Args:
        model: The model; whatever adapter is on it at the time of scoring counts.
        questions: At least one.
        generation: For `Generate` questions.
        eval_tokens: Padded tokens of a batch, at least as many as the longest row.

    Raises:
        DataError: A continuation without tokens, or `Generate` questions without `generation` or
            without a grader.
    """

    def __init__(
        self,
        model: LanguageModel,
        questions: Sequence[Question],
        generation: Generation | None,
        eval_tokens: int,
    ) -> None:
        if not questions:
            raise DataError("got no questions to score; wanted at least one")
        self._model = model
        self._questions = list(questions)
        self._generation = generation
        self._eval_tokens = eval_tokens
        if generation is None and any(isinstance(q, Generate) for q in questions):
            raise DataError("got questions to answer by generation but no generation settings")
        ungraded = [q.id for q in questions if isinstance(q, Generate) and q.rule is None]
        if ungraded and generation is not None and generation.grade is None:
            raise DataError(f"question {ungraded[0]} has no rule and its task no grader")
        self._requests: list[Request] = []
        self._spans: list[tuple[int, int]] = []
        for question in self._questions:
            first = len(self._requests)
            self._requests.extend(self._encode(question))
            self._spans.append((first, len(self._requests)))

    def score(self) -> Scores:
        """Return the metrics of the model as it is now."""
        rows, tokens = self.grade()
        return Scores(summarise(rows), tokens, self._items(rows))

    def _items(self, rows: Sequence[Grades]) -> dict[str, tuple[float, ...]]:
        shared = [name for name in rows[0] if all(name in row for row in rows)]
        own = {name: [_own(row[name]) for row in rows] for name in shared}
        if "gold_bpb" in own:
            golds = [len(right_answer(q).encode()) * math.log(2) for q in self._questions]
            bits = zip(own["gold_bpb"], golds, strict=True)
            own["gold_logprob"] = [-bpb * nats for bpb, nats in bits]
        return {name: tuple(round(v, DIGITS) for v in values) for name, values in own.items()}

    def grade(self) -> tuple[list[Grades], int]:
        """Return the metrics of each question, in order, and the tokens used."""
        families = [i for i, (first, last) in enumerate(self._spans) for _ in range(first, last)]
        likelihoods, tokens = score_requests(
            self._model, self._requests, self._eval_tokens, families
        )
        rows: list[Grades] = []
        answers: dict[int, str] = {}
        open_ended = [i for i, q in enumerate(self._questions) if isinstance(q, Generate)]
        if open_ended and self._generation is not None:
            contexts = [self._questions[i].context for i in open_ended]
            texts, generated = generate(self._model, contexts, self._generation, self._eval_tokens)
            answers = dict(zip(open_ended, texts, strict=True))
            tokens += generated
        for i, (question, (first, last)) in enumerate(
            zip(self._questions, self._spans, strict=True)
        ):
            rows.append(self._grade(question, likelihoods[first:last], answers.get(i, "")))
        return rows, tokens

    def _encode(self, question: Question) -> Iterable[Request]:
        if isinstance(question, Passage):
            yield from self._windows(question)
            return
        if isinstance(question, Pairs):
            pairs = list(question.pairs)
        elif isinstance(question, Choice):
            pairs = [(question.context, question.delimiter + o) for o in question.options]
        elif isinstance(question, Exact):
            pairs = [(question.context, question.delimiter + question.answer)]
        else:
            pairs = [(question.context, question.delimiter + question.gold)]
        for before, text in pairs:
            context, continuation = self._model.encode_pair(before, text)
            if isinstance(question, Exact):
                continuation = [*continuation, self._model.end_id]
            if not continuation:
                raise DataError(f"question {question.id}: {text!r} has no tokens")
            ids = (*context, *continuation)[-(self._model.context + 1) :]
            yield Request(ids, min(len(continuation), len(ids) - 1))

    def _windows(self, passage: Passage) -> Iterable[Request]:
        """Yield windows in which each token is predicted once, as long as they can be."""
        begin, tokens = self._model.encode_pair("", passage.text)
        if not tokens:
            raise DataError(f"passage {passage.id} has no tokens")
        width = self._model.context
        yield Request((*begin, *tokens[:width]), min(width, len(tokens)))
        for start in range(width, len(tokens), width):
            end = min(start + width, len(tokens))
            yield Request(tuple(tokens[end - width - 1 : end]), end - start)

    def _grade(self, question: Question, got: Sequence[Likelihood], answer: str) -> Grades:
        if isinstance(question, Passage):
            nats = -math.fsum(g.total for g in got)
            return {
                "word_perplexity": Ratio(nats, question.words, "exp"),
                "byte_perplexity": Ratio(nats, question.n_bytes, "exp"),
                "bits_per_byte": Ratio(nats, question.n_bytes, "bits"),
            }
        if isinstance(question, Pairs):
            graded = dict(question.rule([g.total for g in got], [g.greedy for g in got]))
            gold = question.pairs[question.gold][1]
            return {**graded, "gold_bpb": bits_per_byte(got[question.gold].total, gold)}
        if isinstance(question, Choice):
            totals = [g.total for g in got]
            norms = [t / len(o) for t, o in zip(totals, question.options, strict=True)]
            gold = question.delimiter + question.options[question.gold]
            return {
                "acc": float(_first_max(totals) == question.gold),
                "acc_norm": float(_first_max(norms) == question.gold),
                "gold_bpb": bits_per_byte(totals[question.gold], gold),
            }
        if isinstance(question, Exact):
            gold = question.delimiter + question.answer
            return {
                "exact_match": float(got[0].greedy),
                "gold_bpb": bits_per_byte(got[0].total, gold),
            }
        if question.rule is not None:
            graded = dict(question.rule(answer))
        else:
            # the constructor saw to it
            assert self._generation is not None
            assert self._generation.grade is not None
            graded = dict(self._generation.grade(answer, question.gold))
        gold = question.delimiter + question.gold
        return {**graded, "gold_bpb": bits_per_byte(got[0].total, gold)}


def _own(value: float | Ratio) -> float:
    return value.value if isinstance(value, Ratio) else value


def bits_per_byte(log_likelihood: float, text: str) -> float:
    """Return bits per UTF-8 byte of `text` at a log-likelihood in nats."""
    return -log_likelihood / math.log(2) / max(len(text.encode()), 1)


def summarise(rows: Sequence[Grades]) -> dict[str, Value]:
    """Return mean, standard error (of the sample, NaN for one row) and count under each name.

    A `Ratio` is summed before it is divided; its standard error is that of the linearised ratio
    (Cochran 1977, section 2.11), times the slope of its turn.
    """
    values: dict[str, Value] = {}
    for name in rows[0]:
        column = [row[name] for row in rows]
        ratios = [x for x in column if isinstance(x, Ratio)]
        if ratios:
            values[name] = _pooled(ratios)
            continue
        x = np.asarray(column, dtype=np.float64)
        se = float(x.std(ddof=1) / math.sqrt(x.size)) if x.size > 1 else math.nan
        values[name] = Value(float(x.mean()), se, int(x.size))
    return values


def _pooled(ratios: Sequence[Ratio]) -> Value:
    nats = np.asarray([r.nats for r in ratios], dtype=np.float64)
    weight = np.asarray([r.weight for r in ratios], dtype=np.float64)
    n, turn = len(ratios), ratios[0].turn
    ratio = float(nats.sum() / weight.sum())
    mean = _turned(ratio, turn)
    if n < 2:
        return Value(mean, math.nan, n)
    spread = math.sqrt(n / (n - 1) * float(((nats - ratio * weight) ** 2).sum()))
    slope = mean if turn == "exp" else 1 / math.log(2)
    return Value(mean, slope * spread / float(weight.sum()), n)


def _turned(nats: float, turn: Literal["exp", "bits"]) -> float:
    """Return a perplexity (infinite beyond what a float holds) or bits."""
    if turn == "bits":
        return nats / math.log(2)
    return math.exp(nats) if nats < 709 else math.inf


class HeldOut:
    """Mean loss a token on held-out rows of each training domain."""

    def __init__(
        self,
        model: LanguageModel,
        rows: Mapping[str, Sequence[Row]],
        max_length: int,
        eval_tokens: int,
    ) -> None:
        self._model = model
        self._eval_tokens = eval_tokens
        self._requests: list[Request] = []
        self._domain: list[str] = []
        for name, domain_rows in rows.items():
            for row in domain_rows:
                encoded: Encoded = encode_row(model, row, max_length)
                self._requests.append(Request(encoded.ids, len(encoded.ids) - encoded.answer))
                self._domain.append(name)

    def losses(self) -> tuple[dict[str, float], int]:
        """Return the loss of each domain (nats a labelled token) and the tokens used."""
        got, tokens = score_requests(self._model, self._requests, self._eval_tokens)
        total: dict[str, float] = {}
        count: dict[str, int] = {}
        for request, domain, likelihood in zip(self._requests, self._domain, got, strict=True):
            total[domain] = total.get(domain, 0.0) - likelihood.total
            count[domain] = count.get(domain, 0) + request.n
        return {d: total[d] / count[d] for d in total}, tokens


def _first_max(values: Sequence[float]) -> int:
    return int(np.argmax(np.asarray(values)))
