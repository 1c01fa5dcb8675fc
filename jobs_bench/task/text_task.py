"""`TextTask`: the whole task contract for tasks that fine-tune a language model on text.

A task gives a `TextSpec` (domains, questions, recipe, metrics, model, space); everything else
follows from it. Benchmark and pocket tasks are subclasses whose constructor builds the spec.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Final

from jobs_bench.budget import Charge
from jobs_bench.fidelity import Fidelity
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.space import Space
from jobs_bench.task.contract import Evaluator, References, TaskInfo, Workshop
from jobs_bench.task.cost import eval_flop, train_flop
from jobs_bench.task.finetune import (
    Choice,
    Exact,
    FineTune,
    Generate,
    Pairs,
    Passage,
    Question,
    Row,
    answered,
)
from jobs_bench.task.prefixes import LEAST_TRUNK, plan
from jobs_bench.task.text_spec import TextSpec, check_spec, score_metric, signature
from jobs_bench.texts import Texts

BYTES_A_TOKEN: Final = 4
"""About, in English text."""


class TextTask:
    """A task that fine-tunes a model on text. It meets the `Task` contract.

    Args:
        spec: What it is made of.

    Raises:
        InputError: Parts of the spec that do not go together.
    """

    def __init__(self, spec: TextSpec) -> None:
        check_spec(spec)
        self.spec = spec

    @cached_property
    def info(self) -> TaskInfo:
        """Return what is known of it; rows dropped as leaks are counted in a tag."""
        spec = self.spec
        leaks = spec.leaks.total if spec.leaks else 0
        return TaskInfo(
            name=spec.name,
            summary=spec.summary,
            metric=score_metric(spec),
            metrics=spec.metrics,
            domains=tuple((d.name, len(d.rows)) for d in spec.domains),
            items=(len(spec.visible), len(spec.hidden)),
            licence=spec.licence,
            reference=spec.reference,
            tags=(*spec.tags, f"leaks-dropped={leaks}") if leaks else spec.tags,
            capabilities=spec.capabilities,
        )

    def space(self) -> Space:
        """Return the search space."""
        return self.spec.search

    def fidelity(self) -> Fidelity:
        """Return the steps at which trials can stand."""
        return self.spec.recipe.fidelity

    def cost(self, config: Configuration, start: int, until: int) -> tuple[Charge, ...]:
        """Return the expected charges of a segment, evaluations included; `s` is 0.

        Tokens are estimated by the spec, FLOPs by `jobs_bench.task.cost`. A segment that ends where
        it starts is a merged trial's and scored once.
        """
        spec = self.spec
        full = spec.search.complete(config)
        shares = full.mixture()
        a_row = math.fsum(w * self._row_tokens[name] for name, w in shares.items())
        tok = a_row * spec.recipe.batch_size * (until - start)
        flop = train_flop(spec.model, full, tok, until - start)
        evaluations = sum(start < step <= until for step in spec.recipe.fidelity.steps)
        evaluations = 1 if start == until else evaluations
        scored = self._eval_tokens * evaluations
        return (
            Charge("train", round(tok), flop),
            Charge("eval", round(scored), eval_flop(spec.model, full, scored)),
        )

    def candidates(self) -> None:
        """Return ``None``: the space is not a finite pool."""
        return

    def references(self) -> References:
        """Return what results are set against."""
        return self.spec.references or References(default=self.spec.search.default())

    def texts(self) -> Texts:
        """Return the training rows and the visible questions with their right answers."""
        spec = self.spec
        return Texts(
            {d.name: [row.prompt + row.answer for row in d.rows] for d in spec.domains},
            [answered(q) for q in spec.visible],
        )

    def signature(self) -> str:
        """Return a hash of rows, questions, recipe, space, metric and model."""
        return self._signature

    def evaluator(self, workshop: Workshop) -> Evaluator:
        """Return a new evaluator from the runtime."""
        return workshop.finetune(self.finetune())

    def finetune(self) -> FineTune:
        """Return what the shared evaluator needs."""
        spec = self.spec
        return FineTune(
            domains=spec.domains,
            visible=spec.visible,
            hidden=spec.hidden,
            recipe=spec.recipe,
            metric=spec.metric,
            higher_is_better=score_metric(spec).higher_is_better,
            model_path=str(spec.model.path),
            generation=spec.generation,
        )

    @cached_property
    def _row_tokens(self) -> dict[str, float]:
        return {
            d.name: math.fsum(self._tokens_of(row) for row in d.rows) / len(d.rows)
            for d in self.spec.domains
        }

    @cached_property
    def _eval_tokens(self) -> float:
        """Tokens of one evaluation: visible questions and held-out rows."""
        spec = self.spec
        held_out = math.fsum(self._tokens_of(row) for d in spec.domains for row in d.held_out)
        asked = math.fsum(self._question_tokens(q) for q in spec.visible)
        return held_out + asked - self._shared_tokens(spec.visible) + self._answer_tokens

    @cached_property
    def _answer_tokens(self) -> float:
        """Tokens of answering by generation, as long as the right answers: each context once.

        The last token of an answer is never read.
        """
        longest = self.spec.generation.max_new_tokens if self.spec.generation else 1
        asked = {q.context: q for q in self.spec.visible if isinstance(q, Generate)}
        read = math.fsum(
            self._tokens(q.context) + min(self._tokens(q.gold), longest - 1) for q in asked.values()
        )
        return read - self._shared_tokens(tuple(asked.values()))

    def _shared_tokens(self, questions: Sequence[Question]) -> float:
        """Return the tokens that few-shot examples save by being computed once a group."""
        contexts = list(dict.fromkeys(q.context for q in questions if q.context))
        rows = [tuple(c.encode("utf-8", "surrogatepass")) for c in contexts]
        least = round(LEAST_TRUNK * BYTES_A_TOKEN)
        saved = 0.0
        for grove in plan(rows, [len(r) - 1 for r in rows], range(len(rows)), least):
            if grove.trunk:
                text = bytes(grove.trunk).decode("utf-8", "ignore")
                saved += self._tokens(text) * (len(grove.trees) - 1)
        return saved

    def _tokens(self, text: str) -> float:
        return self.spec.estimate_tokens(text)

    def _without_last(self, text: str) -> str:
        """Return `text` less about one token."""
        last = math.ceil(len(text) / max(self._tokens(text), 1.0))
        return text[: max(len(text) - last, 0)]

    def _tokens_of(self, row: Row) -> float:
        end = 1.0
        return min(self._tokens(row.prompt + row.answer) + end, self.spec.recipe.max_length)

    def _question_tokens(self, question: Question) -> float:
        if isinstance(question, Passage):
            return self._tokens(question.text)
        context = self._tokens(question.context)
        if isinstance(question, Pairs):
            pairs = {(c, self._without_last(text)) for c, text in question.pairs}
            contexts = {c for c, _ in pairs}
            return math.fsum([*map(self._tokens, contexts), *(self._tokens(t) for _, t in pairs)])
        if isinstance(question, Choice):
            # the last token is only predicted: options that differ in nothing else share a branch
            rows = {self._without_last(question.delimiter + o) for o in question.options}
            return context + math.fsum(self._tokens(row) for row in rows)
        if isinstance(question, Exact):
            return context + self._tokens(question.answer)
        return context + self._tokens(question.gold)

    @cached_property
    def _signature(self) -> str:
        return signature(self.spec)
