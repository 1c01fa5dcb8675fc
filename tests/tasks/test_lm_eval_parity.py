"""Prompts, options, gold answers and grades are those of lm-evaluation-harness, to the letter.

It is no dependency: the test runs where ``lm_eval`` can be imported and the data are there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs_bench.assets.recipes import hellaswag_clean
from jobs_bench.evaluator.scoring import Scorer
from jobs_bench.task.finetune import Choice, Generate, Pairs, Passage
from jobs_bench.task.sources import DATA_VARIABLE, Sources, read_text
from jobs_bench.train.language_model import LanguageModel
from jobs_bench_tasks._benchmark import Benchmark
from jobs_bench_tasks._corpora import CORPORA
from jobs_bench_tasks._documents import Document, wikitext_pages
from jobs_bench_tasks.gsm8k import grade
from jobs_bench_tasks.pocket.model_folder import path as pocket_model
from jobs_bench_tasks.sciq import SciQ
from jobs_bench_tasks.triviaqa import TriviaQa
from jobs_bench_tasks.truthfulqa import TruthfulQaGen, TruthfulQaMc1, TruthfulQaMc2
from jobs_bench_tasks.wikitext import WikiText

lm_tasks = pytest.importorskip("lm_eval.api.task", reason="lm_eval is not installed")
lm_yaml = pytest.importorskip("lm_eval.tasks._yaml_loader", reason="lm_eval is not installed")
lm_home = pytest.importorskip("lm_eval", reason="lm_eval is not installed")

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not os.environ.get(DATA_VARIABLE), reason=f"{DATA_VARIABLE} is not set"),
    pytest.mark.filterwarnings("ignore"),
]

N = 60
Doc = dict[str, Any]


def _arc(row: Mapping[str, Any]) -> Doc:
    labels = list("ABCDE")[: len(row["choices"])]
    choices = {"text": row["choices"], "label": labels}
    return {"question": row["question"], "choices": choices, "answerKey": labels[row["answer"]]}


def _headqa(row: Mapping[str, Any]) -> Doc:
    answers = [{"aid": i, "atext": text} for i, text in enumerate(row["choices"], start=1)]
    return {"qtext": row["question"], "ra": row["answer"] + 1, "answers": answers}


def _pubmedqa(row: Mapping[str, Any]) -> Doc:
    return {
        "QUESTION": row["question"],
        "CONTEXTS": row["contexts"],
        "final_decision": row["final_decision"],
    }


CASES: list[tuple[str, str, str, Callable[[Mapping[str, Any]], Doc]]] = [
    ("arc_easy", "test", "arc/arc_easy.yaml", _arc),
    ("arc_challenge", "test", "arc/arc_challenge.yaml", _arc),
    ("commonsense_qa", "val", "commonsense_qa/default.yaml", _arc),
    ("gsm8k", "test", "gsm8k/gsm8k.yaml", dict),
    ("headqa_en", "test", "headqa/headqa_en.yaml", _headqa),
    ("mmlu", "test", "mmlu/default/mmlu_anatomy.yaml", dict),
    ("pubmedqa", "test_500", "pubmedqa/pubmedqa.yaml", _pubmedqa),
]


def _harness(yaml: str, docs: Sequence[Doc], shots: Sequence[Doc], folder: Path) -> Any:
    """Return a task of the harness over our documents, from its own YAML."""
    config = lm_yaml.load_yaml(Path(lm_home.__file__).parent / "tasks" / yaml)
    files = {}
    for name, rows in (("ours", docs), ("shots", shots or docs)):
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        files[name] = str(file)
    splits = {"training_split": None, "validation_split": None, "test_split": "ours"}
    config |= {"dataset_path": "json", "dataset_name": None, **splits}
    config |= {"dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")}}
    config |= {"fewshot_split": "shots", "num_fewshot": len(shots)}
    for surplus in ("group", "tag", "task_alias"):
        config.pop(surplus, None)
    task = lm_tasks.ConfigurableTask(config=config)
    task.set_fewshot_seed(1)
    task.build_all_requests(limit=None, rank=0, world_size=1)
    return task


def _records(dataset: str, split: str) -> list[dict[str, Any]]:
    return Sources.of().read(dataset, (split,), {}, dict)


def _same(task: Any, documents: Sequence[Document], shots: tuple[Document, ...]) -> None:
    arguments: dict[int, list[tuple[Any, ...]]] = {}
    for instance in task.instances:
        arguments.setdefault(instance.doc_id, []).append(instance.args)
    assert len(arguments) == len(documents)
    for i, document in enumerate(documents):
        ours = document.ask(shots)
        if isinstance(ours, Choice):
            assert arguments[i] == [(ours.context, f" {option}") for option in ours.options]
            assert task.doc_to_target(task.dataset["ours"][i]) in (
                ours.gold,
                str(ours.gold),
                ours.options[ours.gold],
            )
        else:
            assert isinstance(ours, Generate)
            assert arguments[i][0][0] == ours.context
            assert task.doc_to_target(task.dataset["ours"][i]) == ours.gold


@pytest.mark.parametrize(("name", "split", "yaml", "doc"), CASES, ids=[c[0] for c in CASES])
def test_prompts_are_the_harness_ones(
    name: str, split: str, yaml: str, doc: Callable[[Mapping[str, Any]], Doc], tmp_path: Path
) -> None:
    corpus = CORPORA[name]
    records = [r for r in _records(name, split) if r.get("subject", "anatomy") == "anatomy"][:N]
    task = _harness(yaml, [doc(record) for record in records], [], tmp_path)
    _same(task, [corpus.document(record) for record in records], ())


def test_mmlu_shots_are_the_first_of_the_subject(tmp_path: Path) -> None:
    corpus = CORPORA["mmlu"]
    records = [r for r in _records("mmlu", "test") if r["subject"] == "anatomy"][:N]
    shots = [r for r in _records("mmlu", "dev") if r["subject"] == "anatomy"][:5]
    task = _harness("mmlu/default/mmlu_anatomy.yaml", records, shots, tmp_path)
    _same(
        task,
        [corpus.document(record) for record in records],
        tuple(corpus.document(record) for record in shots),
    )


def test_hellaswag_is_cleaned_as_the_harness_does() -> None:
    utils = pytest.importorskip("lm_eval.tasks.hellaswag.utils")
    texts = [
        "  [header] How to [title] sit [step] Sit down.  Then [substeps] rest ",
        "plain",
        "[title] x [title] y",
        "a  [x]  b    c",
    ]
    texts += [t for row in _records("hellaswag", "val_1000")[:300] for t in row["choices"]]
    assert [hellaswag_clean(t) for t in texts] == [utils.preprocess(t) for t in texts]


ANSWERS = [
    "She pays 3 * 4 = $12.\n#### 12",
    "#### 1,200",
    "#### $5",
    "#### -7.",
    "#### 12 and then #### 13",
    "The answer is 12.",
    "It is 12 dollars, or 13.50",
    "12",
    "no number",
    "",
    "#### ",
    "### 12",
    "####12",
    "a. b, c",
    "1,200.",
    "-3",
    "... 7",
]


def test_gsm8k_is_graded_as_the_harness_does(tmp_path: Path) -> None:
    records = _records("gsm8k", "test")[:N]
    for number in ("12", "1,200", "-7", "5", "13.50", "7"):
        records.append({"question": f"How many? {number}", "answer": f"So many.\n#### {number}"})
    task = _harness("gsm8k/gsm8k.yaml", records, [], tmp_path)
    for i, record in enumerate(records):
        for answer in (*ANSWERS, record["answer"]):
            instance = next(x for x in task.instances if x.doc_id == i)
            instance.resps = [answer]
            kept, task._instances = task._instances, [instance]
            task.apply_filters()
            theirs = [
                task.process_results(instance.doc, [instance.filtered_resps[name]])["exact_match"]
                for name in ("strict-match", "flexible-extract")
            ]
            task._instances = kept
            ours = grade(answer, record["answer"])
            assert [ours["exact_match"], ours["exact_match_flexible"]] == theirs, (answer, record)


def _triviaqa(row: Mapping[str, Any]) -> Doc:
    return {"question": row["question"], "answer": {"aliases": row["golden_answers"]}}


def _asked(kind: type[Benchmark], dataset: str, n: int = N) -> tuple[list[Doc], list[Document]]:
    """Return the first rows of an evaluation file, and the documents that we make of them."""
    plan = kind.plan
    path = Sources.of().find(dataset, plan.files, ("jsonl", "txt"))
    assert path is not None
    if path.suffix == ".txt":
        records = [dict(row) for row in wikitext_pages(read_text(path))][:n]
    else:
        records = _records(dataset, path.stem)[:n]
    return records, [plan.questions.document(record) for record in records]


def _process(task: Any, doc: int, answer: str) -> dict[str, float]:
    """Return what the harness makes of an answer, after its filters."""
    instance = next(x for x in task.instances if x.doc_id == doc)
    instance.resps = [answer]
    kept, task._instances = task._instances, [instance]
    task.apply_filters()
    (filtered,) = instance.filtered_resps.values()
    graded: dict[str, float] = task.process_results(instance.doc, [filtered])
    task._instances = kept
    return graded


SHUFFLED: list[tuple[type[Benchmark], str, str]] = [
    (SciQ, "sciq", "sciq/sciq.yaml"),
    (TruthfulQaMc1, "truthfulqa", "truthfulqa/truthfulqa_mc1.yaml"),
]


@pytest.mark.parametrize(("kind", "dataset", "yaml"), SHUFFLED, ids=["sciq", "mc1"])
def test_dealt_options_are_the_harness_ones_in_another_order(
    kind: type[Benchmark], dataset: str, yaml: str, tmp_path: Path
) -> None:
    records, documents = _asked(kind, dataset)
    task = _harness(yaml, records, [], tmp_path)
    moved = 0
    for i, document in enumerate(documents):
        theirs = [x.args for x in task.instances if x.doc_id == i]
        ours = document.ask()
        assert isinstance(ours, Choice)
        assert sorted(theirs) == sorted((ours.context, f" {option}") for option in ours.options)
        right = task.doc_to_target(task.dataset["ours"][i])
        assert theirs[right][1] == f" {ours.options[ours.gold]}"
        moved += ours.gold != right
        # the same likelihoods, in their order and in ours, are judged alike
        length = {text: -float(len(text)) - k / 7 for k, (_, text) in enumerate(sorted(theirs))}
        judged = task.process_results(
            task.dataset["ours"][i], [(length[text], False) for _, text in theirs]
        )
        totals = [length[f" {option}"] for option in ours.options]
        assert judged["acc"] == float(totals.index(max(totals)) == ours.gold)
    assert moved > N / 2


def test_mc2_is_the_harness_one(tmp_path: Path) -> None:
    records, documents = _asked(TruthfulQaMc2, "truthfulqa")
    task = _harness("truthfulqa/truthfulqa_mc2.yaml", records, [], tmp_path)
    for i, document in enumerate(documents):
        theirs = [x.args for x in task.instances if x.doc_id == i]
        ours = document.ask()
        assert isinstance(ours, Pairs)
        assert theirs == list(ours.pairs)
        totals = [-3.0 - (7 * i + 5 * k) % 11 for k in range(len(theirs))]
        judged = task.process_results(task.dataset["ours"][i], [(total, False) for total in totals])
        assert ours.rule(totals, [False] * len(totals)) == pytest.approx(judged)


def test_triviaqa_is_the_harness_one(tmp_path: Path) -> None:
    records, documents = _asked(TriviaQa, "triviaqa_subset")
    task = _harness("triviaqa/default.yaml", [_triviaqa(r) for r in records], [], tmp_path)
    (until,) = {tuple(x.args[1]["until"]) for x in task.instances}
    how = TriviaQa.plan.generation
    assert how is not None
    assert how.stop == until
    right = 0.0
    for i, (record, document) in enumerate(zip(records, documents, strict=True)):
        ours = document.ask()
        assert isinstance(ours, Generate)
        assert ours.rule is not None
        assert next(x for x in task.instances if x.doc_id == i).args[0] == ours.context
        alias = record["golden_answers"][-1]
        for answer in (f" {alias}", f"  {alias.upper()}! ", f"the {alias}", alias[1:], "", "x"):
            graded = ours.rule(answer)
            assert graded == _process(task, i, answer), (answer, record)
            right += graded["exact_match"]
    assert right >= 2 * N


def test_truthfulqa_in_free_text_is_the_harness_one(tmp_path: Path) -> None:
    records, documents = _asked(TruthfulQaGen, "truthfulqa", 24)
    task = _harness("truthfulqa/truthfulqa_gen.yaml", records, [], tmp_path)
    (until,) = {tuple(x.args[1]["until"]) for x in task.instances}
    how = TruthfulQaGen.plan.generation
    assert how is not None
    assert how.stop == until
    for i, (record, document) in enumerate(zip(records, documents, strict=True)):
        ours = document.ask()
        assert isinstance(ours, Generate)
        assert ours.rule is not None
        assert next(x for x in task.instances if x.doc_id == i).args[0] == ours.context
        answers = [f"\nA: {record['best_answer']}", record["incorrect_answers"][0], "No . Never ."]
        for answer in answers:
            assert ours.rule(answer) == pytest.approx(_process(task, i, answer)), answer


def test_wikitext_is_the_harness_one_to_the_log_likelihood(tmp_path: Path) -> None:
    """Pages, counts, windows and metrics, on a model whose context is much shorter than a page."""
    models = pytest.importorskip("lm_eval.models.huggingface")
    records, documents = _asked(WikiText, "wikitext2", 5)
    task = _harness("wikitext/wikitext.yaml", records, [], tmp_path)
    model = LanguageModel(pocket_model(), torch.device("cpu"))
    pages = [document.ask() for document in documents]
    for i, page in enumerate(pages):
        assert isinstance(page, Passage)
        assert next(x for x in task.instances if x.doc_id == i).args == (page.text,)
        assert len(model.encode(page.text)) > 2 * model.context
    harness = models.HFLM(
        pretrained=model.hf, tokenizer=model.tokenizer, max_length=model.context, batch_size=4
    )
    totals = harness.loglikelihood_rolling(task.instances, disable_tqdm=True)
    judged = [
        task.process_results(x.doc, [total])
        for x, total in zip(task.instances, totals, strict=True)
    ]
    scores = Scorer(model, pages, None, 8 * model.context).score()
    for metric in WikiText.plan.metrics:
        theirs = task.aggregation()[metric.name]([j[metric.name] for j in judged])
        assert scores.metrics[metric.name].mean == pytest.approx(theirs, rel=1e-5)
