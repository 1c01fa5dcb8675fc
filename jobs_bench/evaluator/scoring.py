"""Scores a model on questions, by the definitions of lm-evaluation-harness.

`Choice` and `Exact` questions take forward passes with logits at continuation positions only and
shared beginnings computed once (`jobs_bench.evaluator.likelihood`). `Generate` questions are
answered greedily by ``model.generate``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from jobs_bench.errors import DataError
from jobs_bench.evaluator.likelihood import Likelihood, Request, chunks, score_requests
from jobs_bench.task.finetune import Choice, Exact, Generate, Generation, Question, Row
from jobs_bench.train.batches import Encoded, encode_row
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.trial import Value


@dataclass(frozen=True, slots=True)
class Scores:
    """What a set of questions came to.

    Attributes:
        metrics: Mean, standard error and count under each name.
        tokens: Tokens that went through the model, padding excluded.
    """

    metrics: dict[str, Value]
    tokens: int


class Scorer:
    """Scores a fixed set of questions as often as one likes; tokenised once.

    Args:
        model: The model; whatever adapter is on it at the time of scoring counts.
        questions: At least one.
        generation: For `Generate` questions.
        eval_tokens: Padded tokens of a batch, at least as many as the longest row.

    Raises:
        DataError: A continuation without tokens, or `Generate` questions without `generation`.
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
        self._requests: list[Request] = []
        self._spans: list[tuple[int, int]] = []
        for question in self._questions:
            first = len(self._requests)
            self._requests.extend(self._encode(question))
            self._spans.append((first, len(self._requests)))

    def score(self) -> Scores:
        """Return the metrics of the model as it is now."""
        rows, tokens = self.grade()
        return Scores(summarise(rows), tokens)

    def grade(self) -> tuple[list[Mapping[str, float]], int]:
        """Return the metrics of each question, in order, and the tokens used."""
        families = [i for i, (first, last) in enumerate(self._spans) for _ in range(first, last)]
        likelihoods, tokens = score_requests(
            self._model, self._requests, self._eval_tokens, families
        )
        rows: list[Mapping[str, float]] = []
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
        if isinstance(question, Choice):
            texts = [question.delimiter + option for option in question.options]
        elif isinstance(question, Exact):
            texts = [question.delimiter + question.answer]
        else:
            texts = [question.delimiter + question.gold]
        for text in texts:
            context, continuation = self._model.encode_pair(question.context, text)
            if isinstance(question, Exact):
                continuation = [*continuation, self._model.end_id]
            if not continuation:
                raise DataError(f"question {question.id}: {text!r} has no tokens")
            ids = (*context, *continuation)[-(self._model.context + 1) :]
            yield Request(ids, min(len(continuation), len(ids) - 1))

    def _grade(
        self, question: Question, got: Sequence[Likelihood], answer: str
    ) -> dict[str, float]:
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
        assert self._generation is not None  # the constructor saw to it
        graded = dict(self._generation.grade(answer, question.gold))
        gold = question.delimiter + question.gold
        return {**graded, "gold_bpb": bits_per_byte(got[0].total, gold)}


def bits_per_byte(log_likelihood: float, text: str) -> float:
    """Return bits per UTF-8 byte of `text` at a log-likelihood in nats."""
    return -log_likelihood / math.log(2) / max(len(text.encode()), 1)


def summarise(rows: Sequence[Mapping[str, float]]) -> dict[str, Value]:
    """Return mean, standard error (of the sample, NaN for one row) and count under each name."""
    values: dict[str, Value] = {}
    for name in rows[0]:
        x = np.asarray([row[name] for row in rows], dtype=np.float64)
        se = float(x.std(ddof=1) / math.sqrt(x.size)) if x.size > 1 else math.nan
        values[name] = Value(float(x.mean()), se, int(x.size))
    return values


@torch.no_grad()
def generate(
    model: LanguageModel, contexts: Sequence[str], how: Generation, eval_tokens: int
) -> tuple[list[str], int]:
    """Return a greedy answer to each context, cut before the first stop text, and the tokens used.

    Contexts keep their end when they and the answer would not fit the model.
    """
    room = max(model.context - how.max_new_tokens, 1)
    encoded = [tuple(model.encode_pair(c, "")[0] or model.encode(c))[-room:] for c in contexts]
    answers: dict[int, str] = {}
    tokens = 0
    order = sorted(range(len(encoded)), key=lambda i: (len(encoded[i]), i))
    for where in chunks(order, [len(encoded[i]) + how.max_new_tokens for i in order], eval_tokens):
        width = max(len(encoded[i]) for i in where)
        ids = torch.full((len(where), width), model.pad_id, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for k, i in enumerate(where):
            ids[k, width - len(encoded[i]) :] = torch.tensor(encoded[i])
            mask[k, width - len(encoded[i]) :] = 1
        out: Tensor = model.hf.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=how.max_new_tokens,
            do_sample=False,
            use_cache=True,
            pad_token_id=model.pad_id,
            eos_token_id=model.end_id,
            stop_strings=list(how.stop) or None,
            tokenizer=model.tokenizer,
        )
        for k, i in enumerate(where):
            new = out[k, width:].tolist()
            if model.end_id in new:
                new = new[: new.index(model.end_id)]
            tokens += len(encoded[i]) + len(new)
            answers[i] = cut(model.decode(new), how.stop)
    return [answers[i] for i in range(len(contexts))], tokens


def cut(text: str, stops: Sequence[str]) -> str:
    """Return `text` up to the first of the stop texts."""
    for stop in stops:
        text = text.split(stop)[0] if stop else text
    return text


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
