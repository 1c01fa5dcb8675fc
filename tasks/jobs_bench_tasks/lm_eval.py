"""Any task of lm-evaluation-harness as a downstream task: ``lm_eval?task=NAME``.

Needs the extra ``lm-eval``. The harness makes prompts, requests and metrics of each document; the
log-likelihoods and answers come from this package's scorer. Only the one YAML file of the task is
loaded: the harness's own index reads some 14,000 of them first.
"""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

from jobs_bench.errors import DataError, InputError, MissingError, OptionError
from jobs_bench.task.contract import Metric, TaskSetup
from jobs_bench.task.finetune import Exact, Generate, Generation, Pairs, Passage, Question
from jobs_bench.task.sources import checked_name, content_id
from jobs_bench.task.split import split_questions
from jobs_bench.task.text_spec import (
    BITS_PER_BYTE,
    BYTE_PERPLEXITY,
    GOLD_BPB,
    WORD_PERPLEXITY,
)
from jobs_bench.task.text_task import TextTask
from jobs_bench_tasks._benchmark import Asked, Plan, benchmark_spec

SHOT_SEED: Final = 1234
"""As the harness seeds its few-shot examples; here anew for each question."""

_SHARES: Final = ("acc", "exact_match", "pass", "em")
_FRAME: Final = re.compile(r"^\s*(Question|Q):\s*|\s*(Answer|A):\s*$")
_ROLLING: Final = (WORD_PERPLEXITY, BYTE_PERPLEXITY, BITS_PER_BYTE)


class LmEval(TextTask):
    """A task of lm-evaluation-harness 0.4.13: half of its questions visible, half hidden.

    Training domains are those of the other benchmark tasks. What the harness cannot do question by
    question is left out: metrics that are no mean (but for perplexities of whole texts), groups,
    tasks that are Python classes, sampled answers, images and sound. With few-shot examples every
    question gets the same ones; the harness draws them anew for each.

    Args:
        setup: Model and data folder.
        task: Name in the harness.
        data: Folder with one JSONL file a split, called as the task's YAML calls the splits
            (``test.jsonl``), fields as on the hub; empty: from the hub.
        metric: Which metric is the score; empty: the task's first.
        n_visible: At most so many questions for strategies.
        n_hidden: At most so many questions for the oracle.
        horizon: Optimiser steps of a full run.
        batch_size: Rows a step.
        max_length: Longest sequence in tokens.
        shots: Few-shot examples before each question; ``None``: as many as the YAML says.
        domains: Names of the training domains with commas between; empty: all that are on this
            machine.
        space: ``lora`` or ``paper``.
        max_rows: At most so many rows a domain, chosen by hash.
        held_out: Rows a domain on which its loss is measured.

    Raises:
        MissingError: The harness is not installed, or `data` lacks a split.
        OptionError: No such task, or one that cannot be asked.
        InputError: Data that cannot be loaded.
    """

    default_model: ClassVar[str | None] = "smollm2-135m"

    def __init__(
        self,
        setup: TaskSetup,
        *,
        task: str,
        data: str = "",
        metric: str = "",
        n_visible: int = 100,
        n_hidden: int = 200,
        horizon: int = 100,
        batch_size: int = 4,
        max_length: int = 256,
        shots: int | None = None,
        domains: str = "",
        space: str = "lora",
        max_rows: int = 5000,
        held_out: int = 8,
    ) -> None:
        harness = _Harness(task, Path(data).expanduser() if data else None, shots)
        documents = harness.documents()
        sides = split_questions(
            [Exact(name, "", "") for name in documents], n_visible=n_visible, n_hidden=n_hidden
        )
        visible, hidden = ([harness.asked(q.id, documents[q.id]) for q in side] for side in sides)
        super().__init__(
            benchmark_spec(
                Plan(
                    name=f"lm_eval_{task}",
                    summary=f"The task {task} of lm-evaluation-harness.",
                    files=(),
                    metrics=harness.metrics,
                    generation=harness.generation,
                    tags=("lm-evaluation-harness",),
                ),
                setup,
                visible,
                hidden,
                licence="unknown: see the task's page in lm-evaluation-harness",
                reference=f"lm-evaluation-harness, {task} version {harness.version}",
                metric=metric,
                horizon=horizon,
                batch_size=batch_size,
                max_length=max_length,
                shots=harness.shots,
                domains=domains,
                in_domain=True,
                space=space,
                max_rows=max_rows,
                held_out=held_out,
            )
        )


@dataclass(frozen=True, slots=True)
class _Judge:
    """Grades with the harness's own filters and metrics.

    Attributes:
        task: Name and version.
        document: Hash of the document.
        metrics: Wanted names.
        harness: The task object.
        requests: The document's requests.
    """

    task: str
    document: str
    metrics: tuple[str, ...]
    harness: Any = field(repr=False, compare=False)
    requests: tuple[Any, ...] = field(repr=False, compare=False)

    def judged(self, responses: Sequence[object]) -> dict[str, Any]:
        """Return what the harness makes of one response a request, by metric."""
        for request, response in zip(self.requests, responses, strict=True):
            request.resps = [response]
        graded: dict[str, Any] = {}
        for chain in self.harness._filters:
            chain.apply(list(self.requests))
            results = [request.filtered_resps[chain.name] for request in self.requests]
            found = self.harness.process_results(self.requests[0].doc, results)
            graded |= {_called(m, chain.name, self.harness._filters): v for m, v in found.items()}
        return graded

    def _means(self, responses: Sequence[object]) -> dict[str, float]:
        graded = self.judged(responses)
        return {name: float(graded[name]) for name in self.metrics}


@dataclass(frozen=True, slots=True)
class _JudgePairs(_Judge):
    def __call__(self, totals: Sequence[float], greedy: Sequence[bool]) -> Mapping[str, float]:
        """Return the metrics."""
        return self._means(list(zip(totals, greedy, strict=True)))


@dataclass(frozen=True, slots=True)
class _JudgeText(_Judge):
    def __call__(self, answer: str) -> Mapping[str, float]:
        """Return the metrics."""
        return self._means([answer])


def _called(metric: str, chain: str, chains: Sequence[Any]) -> str:
    """Return a metric's name; where a task filters answers in several ways, with the way's name."""
    return metric if len(chains) == 1 else f"{metric},{chain}"


class _Harness:
    """One task of the harness, built from its own YAML.

    Attributes:
        metrics: Those that can be had question by question, and ``gold_bpb`` where options are.
        generation: For free answers.
        version: Of the task.
        shots: Few-shot examples.
    """

    def __init__(self, name: str, data: Path | None, shots: int | None) -> None:
        self._name = name
        path = _yaml_of(name)
        load = _module("lm_eval.tasks._yaml_loader").load_yaml
        self._refuse(load(path, resolve_func=False))
        config: dict[str, Any] = load(path)
        for structure in ("tag", "group", "task_list", "task_alias"):
            config.pop(structure, None)
        if shots is not None:
            config["num_fewshot"] = shots
        self.shots = int(config.get("num_fewshot") or 0)
        if self.shots < 0:
            raise OptionError(f"got shots={self.shots}; wanted at least 0")
        if data is not None:
            self._read_from(data, config)
        build = _module("lm_eval.api.task").ConfigurableTask
        try:
            self._task = build(config=config)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"got no data for the lm-eval task {name} ({error}); wanted a connection to the "
                "hub, or data=FOLDER with one JSONL file a split"
            ) from error
        self.version = str(self._task.VERSION)
        self._rolling = self._task.OUTPUT_TYPE == "loglikelihood_rolling"
        self.generation = self._generation()
        self.metrics = self._metrics()

    def documents(self) -> dict[str, Any]:
        """Return the evaluation documents by the hash of their content, each once."""
        return {
            content_id(self._name, [json.dumps(doc, sort_keys=True, default=str)]): doc
            for doc in self._task.eval_docs
        }

    def asked(self, name: str, document: Any) -> Asked:
        """Return a document as a question.

        Raises:
            DataError: The right option is none of those there are.
        """
        task = self._task
        task.set_fewshot_seed(SHOT_SEED)
        context = task.fewshot_context(
            document, num_fewshot=self.shots, gen_prefix=task.doc_to_prefix(document)
        )
        made = task.construct_requests(
            doc=document, ctx=context, metadata=(self._name, 0, 1), apply_chat_template=False
        )
        requests = tuple(made) if isinstance(made, list) else (made,)
        question = self._question(name, document, requests)
        prompt = task.doc_to_text(document)
        if not isinstance(prompt, str):
            prompt = question.context
        return Asked(question, _FRAME.sub("", self._query(document) or prompt), prompt)

    def _query(self, document: Any) -> str:
        """Return what the YAML calls the question where it says so.

        The harness's own method fails on most of these templates: it reads their text as code.
        """
        query = self._task.config.doc_to_decontamination_query
        if not isinstance(query, str) or not self._task.should_decontaminate():
            return ""
        if query in document:
            return str(document[query])
        return str(_module("lm_eval.utils").apply_template(query, document))

    def _question(self, name: str, document: Any, requests: tuple[Any, ...]) -> Question:
        judge = (
            f"{self._name} {self.version}",
            name,
            tuple(metric.name for metric in self.metrics if metric != GOLD_BPB),
            self._task,
            requests,
        )
        if self._rolling:
            (text,) = requests[0].args
            graded = _Judge(*judge).judged([0.0])
            try:
                words, size = (int(graded[m.name][1]) for m in _ROLLING[:2])
            except (KeyError, TypeError) as error:
                raise OptionError(
                    f"got task={self._name}; wanted one whose texts have words and bytes"
                ) from error
            return Passage(name, text, max(words, 1), max(size, 1))
        if self.generation is not None:
            right = self._task.doc_to_target(document)
            first = right[0] if isinstance(right, list) and right else right
            delimiter = self._task.config.target_delimiter
            context = requests[0].args[0]
            return Generate(name, context, str(first), delimiter, _JudgeText(*judge))
        pairs = tuple((request.args[0], request.args[1]) for request in requests)
        return Pairs(name, pairs, _JudgePairs(*judge), self._gold(document, len(pairs)))

    def _gold(self, document: Any, n: int) -> int:
        task = self._task
        if task.OUTPUT_TYPE != "multiple_choice":
            return 0
        right = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
        if isinstance(right, list) and right:
            right = right[0]
        options = task.doc_to_choice(document)
        if isinstance(right, str) and right in options:
            right = options.index(right)
        if not isinstance(right, int) or not 0 <= right < min(n, len(options)):
            raise DataError(
                f"{self._name}: got the right option {right!r}; wanted one of {len(options)}"
            )
        return right

    def _generation(self) -> Generation | None:
        if self._task.OUTPUT_TYPE != "generate_until":
            return None
        how = self._task.config.generation_kwargs
        if how.get("do_sample") or self._task.config.repeats > 1:
            raise OptionError(
                f"got task={self._name}, whose answers are drawn; wanted a greedy one"
            )
        until = how["until"]
        stop = (until,) if isinstance(until, str) else tuple(until)
        limits = (how.get(key) for key in ("max_gen_toks", "max_new_tokens", "max_tokens"))
        longest = next((int(limit) for limit in limits if limit), 256)
        return Generation(tuple(text for text in stop if text), longest)

    def _metrics(self) -> tuple[Metric, ...]:
        task = self._task
        if self._rolling:
            named = set(task.aggregation())
            kept = tuple(metric for metric in _ROLLING if metric.name in named)
        else:
            mean = _module("lm_eval.api.metrics").mean
            kept = tuple(
                _metric(_called(name, chain.name, task._filters), task.higher_is_better()[name])
                for chain in task._filters
                for name, aggregate in task.aggregation().items()
                if aggregate is mean
            )
        if not kept:
            raise OptionError(
                f"got task={self._name} with the metrics {', '.join(task.aggregation())}; wanted "
                "one that is a mean over questions"
            )
        return (*kept, GOLD_BPB) if task.OUTPUT_TYPE == "multiple_choice" else kept

    def _read_from(self, data: Path, config: dict[str, Any]) -> None:
        """Point `config` at the files of a folder."""
        splits = ("training_split", "validation_split", "test_split", "fewshot_split")
        examples = dict(config.get("fewshot_config") or {})
        named = {config.get(key) for key in splits} | {examples.get("split")}
        files = {split: data / f"{split}.jsonl" for split in sorted(n for n in named if n)}
        found = {split: str(file) for split, file in files.items() if file.is_file()}
        wanted = [config.get("test_split") or config.get("validation_split")]
        if self.shots:
            wanted.append(examples.get("split") or config.get("fewshot_split"))
        for split in (name for name in wanted if name and name not in found):
            raise MissingError(
                f"got data={data} without {split}.jsonl, which {self._name} reads.",
                f"an export of {config.get('dataset_path')} from the hub",
            )
        for key in splits:
            if config.get(key) not in found:
                config.pop(key, None)
        if examples.get("split") not in found:
            examples.pop("split", None)
        if config.get("fewshot_config"):
            config["fewshot_config"] = examples
        config |= {"dataset_path": "json", "dataset_name": None}
        config["dataset_kwargs"] = {"data_files": found}

    def _refuse(self, config: Mapping[str, Any]) -> None:
        for key, what in (
            ("class", "is a Python class"),
            ("doc_to_image", "shows images"),
            ("doc_to_audio", "plays sound"),
            ("unsafe_code", "runs generated code"),
        ):
            if config.get(key):
                raise OptionError(f"got task={self._name}, which {what}; wanted one of plain text")


def _metric(name: str, higher_is_better: bool) -> Metric:
    if name.startswith(_SHARES):
        return Metric(name, higher_is_better)
    return Metric(name, higher_is_better, -math.inf, math.inf)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)  # optional, hence not imported above
    except ModuleNotFoundError as error:
        if error.name != "lm_eval":
            raise
        raise MissingError(
            "lm-evaluation-harness is not installed.", 'pip install "jobs-bench[lm-eval]"'
        ) from None


_TASK_LINE: Final = re.compile(rb"^[\"']?task[\"']?[ \t]*:[ \t]*[\"']?([^\s\"'#]+)", re.MULTILINE)


def _yaml_of(name: str) -> Path:
    """Return the file that defines the task `name`, looked for where its name says first.

    Raises:
        OptionError: None does.
    """
    checked_name("task", name)
    root = Path(_module("lm_eval").__file__).parent / "tasks"
    others: list[str] = []
    for path in _likely_first(root, name):
        found = _TASK_LINE.search(path.read_bytes())
        if found is None:
            continue
        task = found[1].decode(errors="replace")
        if task == name:
            return path
        others.append(task)
    near = sorted(other for other in others if name.split("_")[0] in other)[:12]
    hint = f"; some are {', '.join(near)}" if near else ""
    raise OptionError(f"got task={name}; wanted a single task of lm-evaluation-harness{hint}")


def _likely_first(root: Path, name: str) -> Iterator[Path]:
    """Yield the YAML files under `root`: named as the task, in a folder named so, and the rest."""
    tried: set[Path] = set()
    folders = ["_".join(name.split("_")[:n]) for n in range(name.count("_") + 1, 0, -1)]
    for folder in folders:
        for path in sorted((root / folder).rglob("*.yaml"), key=lambda p: (p.stem != name, p)):
            if path not in tried:
                tried.add(path)
                yield path
    yield from (path for path in sorted(root.rglob("*.yaml")) if path not in tried)
