"""Tasks of lm-evaluation-harness through the adapter, over data made here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs_bench.errors import InputError, MissingError, OptionError
from jobs_bench.evaluator.scoring import Scorer
from jobs_bench.task.contract import ModelFacts, TaskSetup
from jobs_bench.task.finetune import Generate, Pairs, Passage, Question
from jobs_bench.task.sources import CACHE_VARIABLE, DATA_VARIABLE
from jobs_bench.testing.task_contract import check_task
from jobs_bench.train.language_model import LanguageModel
from jobs_bench_tasks.lm_eval import LmEval, _yaml_of
from jobs_bench_tasks.pocket.model_folder import path as pocket_model

lm_home = pytest.importorskip("lm_eval", reason="lm_eval is not installed")

pytestmark = pytest.mark.filterwarnings("ignore")

MODEL = ModelFacts("m", Path("/model"), "d", 4, 100_000, 32, 200, 2048)


@pytest.fixture(autouse=True)
def _empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


def put(folder: Path, split: str, rows: Iterable[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")


def arc_rows(kind: str, n: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{kind}-{i}",
            "question": f"{kind} {i}?",
            "choices": {"text": [f"this {i}", "that", f"those {i} there"], "label": list("ABC")},
            "answerKey": "ABC"[i % 3],
        }
        for i in range(n)
    ]


@pytest.fixture
def setup(tmp_path: Path) -> TaskSetup:
    """Return a machine with one training domain."""
    rows = [{"question": f"How many {i}?", "answer": f"So.\n#### {i}"} for i in range(200)]
    put(tmp_path / "data" / "gsm8k", "train", rows)
    return TaskSetup(MODEL, tmp_path / "data")


def asked(task: LmEval) -> list[Question]:
    return [*task.spec.visible, *task.spec.hidden]


def test_a_choice_task_meets_the_contract(setup: TaskSetup, tmp_path: Path) -> None:
    put(tmp_path / "arc", "test", arc_rows("asks", 40))

    def make() -> LmEval:
        return LmEval(setup, task="arc_easy", data=str(tmp_path / "arc"))

    check_task(make)
    task = make()
    assert sum(task.info.items) == 40
    assert task.info.name == "lm_eval_arc_easy"
    assert [metric.name for metric in task.info.metrics] == ["acc", "acc_norm", "gold_bpb"]
    question = next(q for q in asked(task) if "asks 7?" in q.context)
    assert isinstance(question, Pairs)
    context = "Question: asks 7?\nAnswer:"
    assert question.pairs == (
        (context, " this 7"),
        (context, " that"),
        (context, " those 7 there"),
    )
    assert question.gold == 1
    graded = question.rule([-3.0, -2.9, -1000.0], [False] * 3)
    assert graded == {"acc": 1.0, "acc_norm": 0.0}
    assert question.rule([-1.0, -2.0, -3.0], [False] * 3)["acc"] == 0.0


def test_a_repeated_document_is_asked_once(setup: TaskSetup, tmp_path: Path) -> None:
    rows = arc_rows("asks", 40)
    put(tmp_path / "arc", "test", [*rows, rows[5]])
    assert sum(LmEval(setup, task="arc_easy", data=str(tmp_path / "arc")).info.items) == 40


def test_shots_are_the_same_before_every_question(setup: TaskSetup, tmp_path: Path) -> None:
    put(tmp_path / "arc", "test", arc_rows("asks", 40))
    put(tmp_path / "arc", "train", arc_rows("shows", 20))
    task = LmEval(setup, task="arc_easy", data=str(tmp_path / "arc"), shots=3)
    assert "3-shot" in task.info.tags
    assert len({q.context.rsplit("\n\n", 1)[0] for q in asked(task)}) == 1
    assert all(q.context.count("shows") == 3 for q in asked(task))


def test_a_training_row_with_a_question_is_dropped(setup: TaskSetup, tmp_path: Path) -> None:
    rows = arc_rows("asks", 40)
    rows[3]["question"] = "How many of them are there in the box of number three then?"
    put(tmp_path / "arc", "test", rows)
    train = [{"question": f"How many {i}?", "answer": f"So.\n#### {i}"} for i in range(200)]
    train[9]["question"] = f"Think. {rows[3]['question']}"
    put(tmp_path / "data" / "gsm8k", "train", train)
    task = LmEval(setup, task="arc_easy", data=str(tmp_path / "arc"))
    assert "leaks-dropped=1" in task.info.tags


def test_free_answers_go_through_all_filters(setup: TaskSetup, tmp_path: Path) -> None:
    rows = [{"question": f"What is {i}?", "answer": f"Well.\n#### {i}"} for i in range(40)]
    put(tmp_path / "gsm", "test", rows)
    put(tmp_path / "gsm", "train", [{**row, "question": "Else?"} for row in rows])
    task = LmEval(setup, task="gsm8k", data=str(tmp_path / "gsm"), shots=0)
    names = [metric.name for metric in task.info.metrics]
    assert names == ["exact_match,strict-match", "exact_match,flexible-extract"]
    question = next(q for q in asked(task) if "What is 7?" in q.context)
    assert isinstance(question, Generate)
    assert question.context == "Question: What is 7?\nAnswer:"
    assert question.rule is not None
    assert list(question.rule("It is 7.").values()) == [0.0, 1.0]
    assert list(question.rule("#### 7").values()) == [1.0, 1.0]
    assert list(question.rule("#### 8").values()) == [0.0, 0.0]
    generation = task.finetune().generation
    assert generation is not None
    assert generation.stop == ("Question:", "</s>", "<|im_end|>")
    assert generation.grade is None
    preset = LmEval(setup, task="gsm8k", data=str(tmp_path / "gsm"))
    assert "5-shot" in preset.info.tags


def test_texts_are_scored_whole(setup: TaskSetup, tmp_path: Path) -> None:
    put(tmp_path / "wiki", "test", [{"page": f" = Page {i} = \n It , was ."} for i in range(40)])
    task = LmEval(setup, task="wikitext", data=str(tmp_path / "wiki"))
    assert task.info.metric.name == "word_perplexity"
    assert not task.info.metric.higher_is_better
    page = next(q for q in asked(task) if isinstance(q, Passage) and "Page 7 " in q.text)
    assert isinstance(page, Passage)
    assert (page.words, page.n_bytes) == (9, len(" = Page 7 = \n It , was ."))


def test_contexts_may_differ_instead_of_options(setup: TaskSetup, tmp_path: Path) -> None:
    rows = [
        {"sentence": f"He saw {i} and _ ran.", "option1": "Al", "option2": "Bo", "answer": "2"}
        for i in range(40)
    ]
    put(tmp_path / "wino", "validation", rows)
    task = LmEval(setup, task="winogrande", data=str(tmp_path / "wino"))
    question = next(q for q in asked(task) if "saw 7 " in q.context)
    assert isinstance(question, Pairs)
    assert question.pairs == (("He saw 7 and Al", " ran."), ("He saw 7 and Bo", " ran."))
    assert question.gold == 1
    assert question.rule([-2.0, -1.0], [False, False]) == {"acc": 1.0}


def test_scores_are_those_of_the_harness(setup: TaskSetup, tmp_path: Path) -> None:
    """The same documents, asked and judged by the harness alone."""
    models = pytest.importorskip("lm_eval.models.huggingface")
    harness = pytest.importorskip("lm_eval.evaluator")
    put(tmp_path / "arc", "test", arc_rows("asks", 30))
    task = LmEval(setup, task="arc_easy", data=str(tmp_path / "arc"))
    model = LanguageModel(pocket_model(), torch.device("cpu"))
    ours = Scorer(model, asked(task), None, 4096).score().metrics
    (question, *_) = asked(task)
    assert isinstance(question, Pairs)
    alone = question.rule.harness  # type: ignore[attr-defined]  # the harness's own task object
    got = harness.evaluate(
        lm=models.HFLM(pretrained=model.hf, tokenizer=model.tokenizer, batch_size=8),
        task_dict={"arc_easy": alone},
        bootstrap_iters=0,
    )["results"]["arc_easy"]
    assert ours["acc"].n == 30
    for name in ("acc", "acc_norm"):
        assert ours[name].mean == pytest.approx(got[f"{name},none"])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"task": "arc_eazy"}, OptionError, "some are .*arc_easy"),
        ({"task": "mmlu"}, OptionError, "single task"),
        ({"task": "../arc_easy"}, InputError, "task name"),
        ({"task": "arc_easy", "shots": -1}, OptionError, "shots=-1"),
        ({"task": "arc_easy", "metric": "f1"}, InputError, "acc_norm"),
        ({"task": "humaneval"}, OptionError, "runs generated code"),
    ],
)
def test_impossible_options_are_refused(
    options: dict[str, Any], error: type[Exception], says: str, setup: TaskSetup, tmp_path: Path
) -> None:
    put(tmp_path / "arc", "test", arc_rows("asks", 40))
    with pytest.raises(error, match=says):
        LmEval(setup, data=str(tmp_path / "arc"), **options)


def test_a_split_that_is_not_there_is_named(setup: TaskSetup, tmp_path: Path) -> None:
    put(tmp_path / "arc", "train", arc_rows("shows", 40))
    with pytest.raises(MissingError, match=r"without test\.jsonl"):
        LmEval(setup, task="arc_easy", data=str(tmp_path / "arc"))


def test_a_task_is_found_without_reading_all_of_them() -> None:
    started = time.perf_counter()
    for name in ("arc_easy", "mmlu_anatomy", "truthfulqa_mc2", "gsm8k", "wikitext"):
        assert f"{name}.yaml" == _yaml_of(name).name
    assert time.perf_counter() - started < 5
