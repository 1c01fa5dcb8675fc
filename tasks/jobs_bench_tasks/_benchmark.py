"""`Benchmark`: a public benchmark with the training sets of several others as domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from jobs_bench.errors import InputError, MissingError, OptionError, UnknownNameError
from jobs_bench.task.contract import Metric, ModelFacts, TaskSetup
from jobs_bench.task.finetune import Domain, Generation, Question, Recipe
from jobs_bench.task.leakage import drop_leaks
from jobs_bench.task.sources import Record, Sources
from jobs_bench.task.split import by_hash, split_questions
from jobs_bench.task.text_spec import TextSpec, mixture_axis, preset_space, steps_of
from jobs_bench.task.text_task import TextTask
from jobs_bench_tasks._corpora import CORPORA, Corpus
from jobs_bench_tasks._documents import Document


@dataclass(frozen=True, slots=True)
class Plan:
    """What a benchmark is, apart from its options.

    Attributes:
        name: Of the task; also of its own training set, where `CORPORA` has one.
        summary: One sentence.
        files: Evaluation file and its stand-ins.
        metrics: The first one is behind the score unless an option says otherwise.
        asked: How its questions are read, where that is not how its training set is.
        shots_from: File of few-shot examples and its stand-ins, read as the training set is;
            empty: it takes none.
        shots_in_order: Take them in the file's order, otherwise by hash.
        generation: For free answers.
        counts: Visible and hidden questions where the user names no number.
        tags: Beside those that follow from the data.
    """

    name: str
    summary: str
    files: tuple[str, ...]
    metrics: tuple[Metric, ...]
    asked: Corpus | None = None
    shots_from: tuple[str, ...] = ("train",)
    shots_in_order: bool = False
    generation: Generation | None = None
    counts: tuple[int, int] = (100, 200)
    tags: tuple[str, ...] = ()

    @property
    def questions(self) -> Corpus:
        """Return how the questions are read."""
        return self.asked or CORPORA[self.name]


class Benchmark(TextTask):
    """A public benchmark: half of its questions visible, half hidden, never trained on.

    The evaluation questions stand in no training row: leaking rows are dropped and counted.

    Args:
        setup: Model and data folder.
        metric: Which metric is the score; empty: the task's first.
        n_visible: At most so many questions for strategies; ``None``: the task's own number.
        n_hidden: At most so many questions for the oracle; ``None``: the task's own number.
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
        n_visible: int | None = None,
        n_hidden: int | None = None,
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
        _check_counts(least=0, shots=shots)
        sources = Sources.of(setup.data_dir)
        corpus = plan.questions
        documents = _questions(sources, corpus, plan.files)
        examples = _Examples(sources, plan, shots)
        every = [Asked(d.ask(examples.of(d)), d.question, d.row().prompt) for d in documents]
        asked = {each.question.id: each for each in every}
        visible, hidden = split_questions(
            [each.question for each in every],
            n_visible=plan.counts[0] if n_visible is None else n_visible,
            n_hidden=plan.counts[1] if n_hidden is None else n_hidden,
        )
        super().__init__(
            benchmark_spec(
                plan,
                setup,
                [asked[question.id] for question in visible],
                [asked[question.id] for question in hidden],
                licence=corpus.licence,
                reference=corpus.reference,
                metric=metric,
                horizon=horizon,
                batch_size=batch_size,
                max_length=max_length,
                shots=shots,
                domains=domains,
                in_domain=in_domain,
                space=space,
                max_rows=max_rows,
                held_out=held_out,
            )
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """An evaluation question and what must stand in no training row.

    Attributes:
        question: As it is asked.
        bare: Without template, examples and answer.
        prompt: As a training row's prompt would be written; may be empty.
    """

    question: Question
    bare: str
    prompt: str


def benchmark_spec(
    plan: Plan,
    setup: TaskSetup,
    visible: Sequence[Asked],
    hidden: Sequence[Asked],
    *,
    licence: str,
    reference: str,
    metric: str,
    horizon: int,
    batch_size: int,
    max_length: int,
    shots: int,
    domains: str,
    in_domain: bool,
    space: str,
    max_rows: int,
    held_out: int,
) -> TextSpec:
    """Return the task that asks `visible` and `hidden` and trains on the sets of this machine.

    Args:
        plan: Name, summary, metrics, generation and tags count.
        setup: Model and data folder.
        visible: Questions for strategies.
        hidden: Questions for the oracle.
        licence: Of the questions.
        reference: Their source.
        metric: See `Benchmark`, as for the others.
        horizon: Steps.
        batch_size: Rows.
        max_length: Tokens.
        shots: For the tag.
        domains: Names.
        in_domain: Whether a training set called as the plan is a domain.
        space: Preset.
        max_rows: A domain.
        held_out: Rows a domain.
    """
    _check_counts(batch_size=batch_size, max_rows=max_rows)
    _check_counts(least=0, held_out=held_out)
    model = _model(plan, setup)
    sources = Sources.of(setup.data_dir)
    mixed, leaks = drop_leaks(
        [
            _domain(sources, name, max_rows, held_out)
            for name in _domain_names(sources, plan, domains, in_domain)
        ],
        [asked.bare for asked in (*visible, *hidden)],
        [asked.prompt for asked in (*visible, *hidden) if asked.prompt],
    )
    recipe = Recipe(
        fidelity=steps_of(horizon),
        batch_size=batch_size,
        max_length=max_length,
        warmup_steps=max(1, horizon // 10),
    )
    return TextSpec(
        name=plan.name,
        summary=plan.summary,
        model=model,
        domains=mixed,
        visible=tuple(asked.question for asked in visible),
        hidden=tuple(asked.question for asked in hidden),
        recipe=recipe,
        metrics=plan.metrics,
        metric=metric or plan.metrics[0].name,
        search=preset_space(space, mixture_axis(mixed, recipe), model.n_layers),
        generation=plan.generation,
        licence=licence,
        reference=reference,
        tags=_tags(plan, licence, mixed, shots),
        leaks=leaks,
    )


def _check_counts(least: int = 1, **counts: int) -> None:
    for name, count in counts.items():
        if count < least:
            raise OptionError(f"got {name}={count}; wanted at least {least}")


def _model(plan: Plan, setup: TaskSetup) -> ModelFacts:
    if setup.model is None:
        raise InputError(f"task {plan.name} fine-tunes a base model; got none, wanted its facts")
    return setup.model


def _questions(sources: Sources, corpus: Corpus, files: Sequence[str]) -> list[Document]:
    """Return the evaluation documents; one that stands twice in the file is asked once."""
    folder = corpus.dataset
    if corpus.stand_in and not _found(sources, corpus, files):
        at_hand = sources.find(corpus.stand_in, files) is not None
        folder = corpus.stand_in if at_hand else folder
    read = sources.read(folder, files, corpus.fields, corpus.document, corpus.records)
    return list(dict.fromkeys(read))


class _Examples:
    """The few-shot examples: the same for every question of a group.

    lm-evaluation-harness draws them anew for each question; a fixed choice keeps the prefix shared
    and the comparison of two trials paired.
    """

    def __init__(self, sources: Sources, plan: Plan, shots: int) -> None:
        self._by_group: dict[str, tuple[Document, ...]] = {}
        if shots == 0:
            return
        files = plan.shots_from
        if not files:
            raise OptionError(f"got shots={shots}; wanted 0: {plan.name} takes no examples")
        corpus = CORPORA[plan.name]
        read = sources.read(corpus.dataset, files, corpus.fields, corpus.document)
        if not plan.shots_in_order:
            read = by_hash(read, lambda d: d.id, "shots")
        for document in read:
            have = self._by_group.get(document.group, ())
            self._by_group[document.group] = (*have, document)[:shots]
        short = {g: len(found) for g, found in self._by_group.items() if len(found) < shots}
        if short:
            raise OptionError(
                f"got shots={shots}; wanted at most {min(short.values())}, the examples in "
                f"{corpus.dataset}/{files[0]}.jsonl"
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
        if (name == plan.name or not corpus.by_name)
        and all(_found(sources, corpus, files) for files in corpus.train)
    ]
    if not in_domain:
        found = [name for name in found if name != plan.name]
    if named and not found:
        raise OptionError(
            f"got domains={domains!r} and in_domain=false; wanted a domain beside {plan.name}"
        )
    if not found:
        raise MissingError(
            f"task {plan.name} found no training domain on this machine.",
            "jobs-bench fetch arc_easy",
        )
    return found


def _found(sources: Sources, corpus: Corpus, files: Sequence[str]) -> bool:
    endings = ("jsonl", "txt") if corpus.records else ("jsonl",)
    return sources.find(corpus.dataset, files, endings) is not None


def _domain(sources: Sources, name: str, max_rows: int, held_out: int) -> Domain:
    corpus = CORPORA[name]

    def convert(row: Record) -> Sequence[Document]:
        if corpus.keep and not corpus.keep(row):
            return ()
        return corpus.parts(row) if corpus.parts else (corpus.document(row),)

    documents: dict[str, Document] = {}
    for files in corpus.train:
        read = sources.read(corpus.dataset, files, corpus.fields, convert, corpus.records)
        for made in read:
            for document in made:
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


def _tags(plan: Plan, licence: str, domains: Sequence[Domain], shots: int) -> tuple[str, ...]:
    tags = ["benchmark", f"{shots}-shot", *plan.tags]
    if any(domain.name == plan.name for domain in domains):
        tags.append("in-domain")
    if any("NC" in each for each in (licence, *(d.licence for d in domains))):
        tags.append("non-commercial-data")
    return tuple(tags)
