"""`Benchmark`: a public benchmark with the training sets of several others as domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jobs_bench.errors import InputError, MissingError, OptionError, UnknownNameError
from jobs_bench.task.contract import Metric, ModelFacts, TaskSetup
from jobs_bench.task.finetune import Domain, Generation, Recipe
from jobs_bench.task.leakage import drop_leaks
from jobs_bench.task.sources import Record, Sources
from jobs_bench.task.split import by_hash, split_questions
from jobs_bench.task.text_spec import TextSpec, mixture_axis, preset_space, steps_of
from jobs_bench.task.text_task import TextTask
from jobs_bench_tasks._documents import CORPORA, Corpus, Document


@dataclass(frozen=True, slots=True)
class Plan:
    """What a benchmark is, apart from its options.

    Attributes:
        corpus: Name in `CORPORA`; also the task's name.
        summary: One sentence.
        files: Evaluation file and its stand-ins.
        metrics: The first one is behind the score unless an option says otherwise.
        shots_from: File of few-shot examples.
        shots_in_order: Take them in the file's order, otherwise by hash.
        generation: For free answers.
    """

    corpus: str
    summary: str
    files: tuple[str, ...]
    metrics: tuple[Metric, ...]
    shots_from: str = "train"
    shots_in_order: bool = False
    generation: Generation | None = None


class Benchmark(TextTask):
    """A public benchmark: half of its questions visible, half hidden, never trained on.

    The evaluation questions stand in no training row: leaking rows are dropped and counted.

    Args:
        setup: Model and data folder.
        metric: Which metric is the score; empty: the task's first.
        n_visible: At most so many questions for strategies.
        n_hidden: At most so many questions for the oracle.
        horizon: Optimiser steps of a full run.
        batch_size: Rows a step.
        max_length: Longest sequence in tokens.
        shots: Few-shot examples before each question.
        domains: Names of the training domains with commas between; empty: all that are on this
            machine.
        in_domain: Whether the benchmark's own training set is a domain.
        space: ``lora`` or ``paper``.
        max_rows: At most so many rows a domain, chosen by hash.
        held_out: Rows a domain on which its loss is measured.

    Raises:
        MissingError: Data that is not on this machine.
        DataError: Data that cannot be read.
        InputError: Options that cannot be.
    """

    default_model: ClassVar[str | None] = "smollm2-135m"
    plan: ClassVar[Plan]

    def __init__(
        self,
        setup: TaskSetup,
        *,
        metric: str = "",
        n_visible: int = 100,
        n_hidden: int = 200,
        horizon: int = 100,
        batch_size: int = 4,
        max_length: int = 256,
        shots: int = 0,
        domains: str = "",
        in_domain: bool = True,
        space: str = "lora",
        max_rows: int = 5000,
        held_out: int = 8,
    ) -> None:
        plan = self.plan
        _check_counts(batch_size=batch_size, max_rows=max_rows)
        _check_counts(least=0, shots=shots, held_out=held_out)
        model = _model(plan, setup)
        sources = Sources.of(setup.data_dir)
        corpus = CORPORA[plan.corpus]
        documents = _questions(sources, corpus, plan.files)
        asked = {d.id: d for d in documents}
        examples = _Examples(sources, corpus, plan, shots)
        visible, hidden = split_questions(
            [d.ask(examples.of(d)) for d in documents], n_visible=n_visible, n_hidden=n_hidden
        )
        chosen = [asked[question.id] for question in (*visible, *hidden)]
        mixed, leaks = drop_leaks(
            [
                _domain(sources, name, max_rows, held_out)
                for name in _domain_names(sources, plan, domains, in_domain)
            ],
            [document.question for document in chosen],
            [document.row().prompt for document in chosen],
        )
        recipe = Recipe(
            fidelity=steps_of(horizon),
            batch_size=batch_size,
            max_length=max_length,
            warmup_steps=max(1, horizon // 10),
        )
        super().__init__(
            TextSpec(
                name=plan.corpus,
                summary=plan.summary,
                model=model,
                domains=mixed,
                visible=visible,
                hidden=hidden,
                recipe=recipe,
                metrics=plan.metrics,
                metric=metric or plan.metrics[0].name,
                search=preset_space(space, mixture_axis(mixed, recipe), model.n_layers),
                generation=plan.generation,
                licence=corpus.licence,
                reference=corpus.reference,
                tags=_tags(plan, mixed, shots),
                leaks=leaks,
            )
        )


def _check_counts(least: int = 1, **counts: int) -> None:
    for name, count in counts.items():
        if count < least:
            raise OptionError(f"got {name}={count}; wanted at least {least}")


def _model(plan: Plan, setup: TaskSetup) -> ModelFacts:
    if setup.model is None:
        raise InputError(f"task {plan.corpus} fine-tunes a base model; got none, wanted its facts")
    return setup.model


def _questions(sources: Sources, corpus: Corpus, files: Sequence[str]) -> list[Document]:
    """Return the evaluation documents; one that stands twice in the file is asked once."""
    read = sources.read(corpus.dataset, files, corpus.fields, corpus.document)
    return list(dict.fromkeys(read))


class _Examples:
    """The few-shot examples: the same for every question of a group.

    lm-evaluation-harness draws them anew for each question; a fixed choice keeps the prefix shared
    and the comparison of two trials paired.
    """

    def __init__(self, sources: Sources, corpus: Corpus, plan: Plan, shots: int) -> None:
        self._by_group: dict[str, tuple[Document, ...]] = {}
        if shots == 0:
            return
        file = plan.shots_from
        read = sources.read(corpus.dataset, (file,), corpus.fields, corpus.document)
        if not plan.shots_in_order:
            read = by_hash(read, lambda d: d.id, "shots")
        for document in read:
            have = self._by_group.get(document.group, ())
            self._by_group[document.group] = (*have, document)[:shots]
        short = {g: len(found) for g, found in self._by_group.items() if len(found) < shots}
        if short:
            raise OptionError(
                f"got shots={shots}; wanted at most {min(short.values())}, the examples in "
                f"{corpus.dataset}/{file}.jsonl"
            )

    def of(self, document: Document) -> tuple[Document, ...]:
        """Return the examples before `document`."""
        return self._by_group.get(document.group, ())


def _domain_names(sources: Sources, plan: Plan, domains: str, in_domain: bool) -> list[str]:
    """Return the training domains, in the order of the mixture axis."""
    named = [name.strip() for name in domains.split(",") if name.strip()]
    for name in named:
        if name not in CORPORA:
            raise UnknownNameError("training domain", name, CORPORA)
    if len(set(named)) != len(named):
        raise OptionError(f"got the domains {domains!r}; wanted each once")
    found = named or [
        name
        for name, corpus in CORPORA.items()
        if all(sources.find(corpus.dataset, files) for files in corpus.train)
    ]
    if not in_domain:
        found = [name for name in found if name != plan.corpus]
    if named and not found:
        raise OptionError(
            f"got domains={domains!r} and in_domain=false; wanted a domain beside {plan.corpus}"
        )
    if not found:
        raise MissingError(
            f"task {plan.corpus} found no training domain on this machine.",
            "jobs-bench fetch arc_easy",
        )
    return found


def _domain(sources: Sources, name: str, max_rows: int, held_out: int) -> Domain:
    corpus = CORPORA[name]

    def convert(row: Record) -> Document | None:
        return None if corpus.keep and not corpus.keep(row) else corpus.document(row)

    documents: dict[str, Document] = {}
    for files in corpus.train:
        for document in sources.read(corpus.dataset, files, corpus.fields, convert):
            if document is not None:
                documents.setdefault(document.id, document)
    ordered = by_hash(list(documents.values()), lambda d: d.id, "rows")
    rows = [document.row() for document in ordered[: max_rows + held_out]]
    kept_back = min(held_out, len(rows) // 5)
    return Domain(
        name=name,
        rows=tuple(rows[kept_back:]),
        held_out=tuple(rows[:kept_back]),
        source=f"{corpus.dataset} ({corpus.reference})",
        licence=corpus.licence,
    )


def _tags(plan: Plan, domains: Sequence[Domain], shots: int) -> tuple[str, ...]:
    tags = ["benchmark", f"{shots}-shot"]
    if any(domain.name == plan.corpus for domain in domains):
        tags.append("in-domain")
    if any("NC" in domain.licence for domain in domains):
        tags.append("non-commercial-data")
    return tuple(tags)
