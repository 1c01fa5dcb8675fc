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

from jobs_bench.assets.recipes import hellaswag_clean
from jobs_bench.task.finetune import Choice, Generate
from jobs_bench.task.sources import DATA_VARIABLE, Sources
from jobs_bench_tasks._documents import CORPORA, Document
from jobs_bench_tasks.gsm8k import grade

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
    ("headqa_en", "train", "headqa/headqa_en.yaml", _headqa),
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
