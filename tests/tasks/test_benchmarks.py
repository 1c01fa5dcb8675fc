"""The benchmark tasks over data sets made here, in the layout of the real ones."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from jobs_bench.errors import (
    DataError,
    InputError,
    MissingError,
    OptionError,
    UnknownNameError,
)
from jobs_bench.task.contract import ModelFacts, Task, TaskSetup
from jobs_bench.task.finetune import Choice, Generate, Row
from jobs_bench.task.sources import CACHE_VARIABLE, DATA_VARIABLE
from jobs_bench_tasks._benchmark import Benchmark
from jobs_bench_tasks.arc import ArcChallenge, ArcEasy
from jobs_bench_tasks.commonsense_qa import CommonsenseQa
from jobs_bench_tasks.gsm8k import Gsm8k, grade
from jobs_bench_tasks.hellaswag import Hellaswag
from jobs_bench_tasks.mmlu import Mmlu

MODEL = ModelFacts("m", Path("/model"), "d", 4, 100_000, 32, 200, 2048)
ALL: list[type[Benchmark]] = [ArcChallenge, ArcEasy, CommonsenseQa, Gsm8k, Hellaswag, Mmlu]

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def unique(kind: str, i: int) -> str:
    """Return a question that shares no long run of words with another."""
    return f"{kind} asks about {NUMBERS[i % 10]} {NUMBERS[i // 10 % 10]} things numbered {i}?"


def put(root: Path, dataset: str, split: str, rows: Iterable[dict[str, Any]]) -> None:
    path = root / dataset / f"{split}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def choice_rows(kind: str, n: int, options: int = 4) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{kind}-{i}",
            "question": unique(kind, i),
            "choices": [f"option {j} of {i}" for j in range(options)],
            "answer": i % options,
        }
        for i in range(n)
    ]


@pytest.fixture(autouse=True)
def _empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for name in ("arc_easy", "arc_challenge"):
        put(root, name, "train", choice_rows(f"{name} train", 200))
        put(root, name, "test", choice_rows(f"{name} test", 40))
    put(root, "commonsense_qa", "train", choice_rows("csqa train", 200, 5))
    put(root, "commonsense_qa", "val", choice_rows("csqa val", 40, 5))
    put(
        root,
        "gsm8k",
        "test",
        [{"question": unique("gsm test", i), "answer": f"So.\n#### {i}"} for i in range(40)],
    )
    put(
        root,
        "gsm8k",
        "train",
        [{"question": unique("gsm train", i), "answer": f"So.\n#### {i}"} for i in range(200)],
    )
    put(
        root,
        "hellaswag",
        "val_1000",
        [
            {"ind": i, "query": unique("swag", i), "choices": ["a", " b"], "answer": i % 2}
            for i in range(40)
        ],
    )
    for split, n in (("dev", 10), ("val", 30), ("test", 40)):
        rows = [
            {**row, "subject": ("high_school_physics", "anatomy")[i % 2]}
            for i, row in enumerate(choice_rows(f"mmlu {split}", n))
        ]
        put(root, "mmlu", split, rows)
    return root


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.plan.corpus)
def test_every_task_meets_the_contract(task: type[Benchmark], data: Path) -> None:
    made = task(TaskSetup(MODEL, data))
    assert isinstance(made, Task)
    info = made.info
    assert info.name == task.plan.corpus
    assert info.licence
    assert info.reference
    assert min(info.items) > 5
    assert sum(info.items) == 40
    assert info.metric == task.plan.metrics[0]
    assert "gold_bpb" in [metric.name for metric in info.metrics]
    own = [name for name, _ in info.domains if name == info.name]
    assert ("in-domain" in info.tags) == bool(own)
    assert made.signature() == task(TaskSetup(MODEL, data)).signature()
    charges = made.cost(made.references().default, 0, made.fidelity().horizon)
    assert all(charge.tok > 0 and charge.flop > 0 for charge in charges)
    assert task.default_model == "smollm2-135m"


def test_default_metrics() -> None:
    assert [task.plan.metrics[0].name for task in ALL] == [
        "acc_norm",
        "acc",
        "acc",
        "exact_match",
        "acc_norm",
        "acc",
    ]


def test_options_change_what_they_say(data: Path) -> None:
    task = ArcEasy(
        TaskSetup(MODEL, data),
        metric="gold_bpb",
        n_visible=5,
        n_hidden=7,
        horizon=40,
        batch_size=3,
        max_length=64,
        domains="gsm8k, arc_easy",
        space="paper",
        max_rows=50,
        held_out=4,
    )
    info = task.info
    assert info.metric.name == "gold_bpb"
    assert info.items == (5, 7)
    assert task.fidelity().steps == (4, 10, 20, 40)
    assert (task.spec.recipe.batch_size, task.spec.recipe.max_length) == (3, 64)
    assert info.domains == (("gsm8k", 50), ("arc_easy", 50))
    assert [len(d.held_out) for d in task.spec.domains] == [4, 4]
    assert "lora_alpha" in task.space().names
    assert task.signature() != ArcEasy(TaskSetup(MODEL, data)).signature()


def test_in_domain_data_can_be_left_out(data: Path) -> None:
    task = ArcEasy(TaskSetup(MODEL, data), in_domain=False)
    assert "arc_easy" not in dict(task.info.domains)
    assert "in-domain" not in task.info.tags


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"domains": "arc_eazy"}, UnknownNameError, "arc_easy"),
        ({"domains": "gsm8k,gsm8k"}, OptionError, "each once"),
        ({"domains": "arc_easy", "in_domain": False}, OptionError, "beside arc_easy"),
        ({"domains": "pubmedqa"}, MissingError, "jobs-bench fetch pubmedqa"),
        ({"metric": "accuracy"}, UnknownNameError, "acc_norm"),
        ({"space": "big"}, UnknownNameError, "paper"),
        ({"n_visible": 0}, OptionError, "n_visible=0"),
        ({"horizon": 0}, OptionError, "horizon=0"),
        ({"batch_size": 0}, OptionError, "batch_size=0"),
        ({"shots": -1}, OptionError, "shots=-1"),
        ({"shots": 500}, OptionError, "at most 200"),
        ({"max_rows": 0}, OptionError, "max_rows=0"),
        ({"max_length": 1}, OptionError, "max_length=1"),
        ({"max_length": 9999}, OptionError, "2048"),
        ({"max_rows": 10}, InputError, "add rows"),
    ],
)
def test_impossible_options_are_refused(
    options: dict[str, Any], error: type[Exception], says: str, data: Path
) -> None:
    with pytest.raises(error, match=says):
        ArcEasy(TaskSetup(MODEL, data), **options)


def test_missing_things_are_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="base model"):
        ArcEasy(TaskSetup(None, data))
    with pytest.raises(MissingError, match="jobs-bench fetch arc_easy"):
        ArcEasy(TaskSetup(MODEL))
    only_test = tmp_path / "only"
    put(only_test, "arc_easy", "test", choice_rows("x", 40))
    with pytest.raises(MissingError, match="no training domain"):
        ArcEasy(TaskSetup(MODEL, only_test))


def test_bad_rows_are_named_by_file_and_line(data: Path) -> None:
    rows = choice_rows("x", 40, 5)
    rows[7]["choices"] = rows[7]["choices"][:4]
    put(data, "commonsense_qa", "val", rows)
    with pytest.raises(DataError, match=r"val\.jsonl:8: got 4 choices; wanted 5"):
        CommonsenseQa(TaskSetup(MODEL, data))
    del rows[7]["answer"]
    put(data, "commonsense_qa", "val", rows)
    with pytest.raises(DataError, match=r"val\.jsonl:8: .*wanted 'answer' too"):
        CommonsenseQa(TaskSetup(MODEL, data))


def test_leaking_rows_are_dropped_and_counted(data: Path) -> None:
    rows = choice_rows("arc_easy train", 200)
    for i, row in enumerate(choice_rows("arc_easy test", 40)[:3]):
        rows[i]["question"] = row["question"].upper()
    put(data, "arc_easy", "train", rows)
    task = ArcEasy(TaskSetup(MODEL, data))
    assert dict(task.info.domains)["arc_easy"] + 8 == 197
    assert "leaks-dropped=3" in task.info.tags
    asked = {q.context.lower() for q in (*task.spec.visible, *task.spec.hidden)}
    for domain in task.spec.domains:
        assert not asked & {row.prompt.lower() for row in (*domain.rows, *domain.held_out)}


def test_a_question_that_stands_twice_is_asked_once(data: Path) -> None:
    rows = choice_rows("arc_easy test", 40)
    put(data, "arc_easy", "test", [*rows, rows[0]])
    assert sum(ArcEasy(TaskSetup(MODEL, data)).info.items) == 40


def test_mmlu_asks_like_this(data: Path) -> None:
    task = Mmlu(TaskSetup(MODEL, data))
    question = next(
        q
        for q in task.spec.visible + task.spec.hidden
        if "mmlu test asks about one one" in q.context
    )
    assert isinstance(question, Choice)
    assert question.context == (
        "The following are multiple choice questions (with answers) about high school physics.\n\n"
        "mmlu test asks about one one things numbered 0?\n"
        "A. option 0 of 0\nB. option 1 of 0\nC. option 2 of 0\nD. option 3 of 0\nAnswer:"
    )
    assert (question.options, question.gold, question.delimiter) == (tuple("ABCD"), 0, " ")
    (domain,) = [d for d in task.spec.domains if d.name == "mmlu"]
    assert len(domain.rows) + len(domain.held_out) == 40
    assert {row.answer for row in domain.rows} == {" A", " B", " C", " D"}
    assert all(row.prompt.startswith("The following are") for row in domain.rows)


def test_shots_stand_before_every_question(data: Path) -> None:
    task = Mmlu(TaskSetup(MODEL, data), shots=2)
    assert "2-shot" in task.info.tags
    for question in (*task.spec.visible, *task.spec.hidden):
        assert question.context.count("The following are") == 1
        assert question.context.count("Answer: ") == 2
        assert question.context.count("\n\n") == 3
        subject = question.context.split("about ")[1].split(".")[0]
        first = 0 if subject == "high school physics" else 1
        assert f"numbered {first}?" in question.context
    free = Gsm8k(TaskSetup(MODEL, data), shots=3)
    heads = {q.context.rsplit("\n\n", 1)[0] for q in (*free.spec.visible, *free.spec.hidden)}
    assert len(heads) == 1
    assert heads.pop().count("####") == 3


def test_gsm8k_is_answered_in_free_text(data: Path) -> None:
    task = Gsm8k(TaskSetup(MODEL, data))
    question = task.spec.visible[0]
    assert isinstance(question, Generate)
    assert question.context.startswith("Question: gsm test")
    assert question.context.endswith("\nAnswer:")
    assert question.gold.startswith("So.\n#### ")
    spec = task.finetune().generation
    assert spec is not None
    assert spec.stop == ("Question:", "</s>", "<|im_end|>")
    assert spec.max_new_tokens == 256
    assert {"exact_match", "exact_match_flexible"} <= {m.name for m in task.info.metrics}
    row: Row = next(d for d in task.spec.domains if d.name == "gsm8k").rows[0]
    assert row.answer.startswith(" So.\n####")


@pytest.mark.parametrize(
    ("generated", "strict", "flexible"),
    [
        (" 3 + 4 = 7\n#### 1,200", 1.0, 1.0),
        ("#### 1200", 1.0, 1.0),
        ("#### 1200.", 1.0, 1.0),
        ("#### $1,200", 0.0, 1.0),
        ("The answer is 1200", 0.0, 1.0),
        ("#### 7 or rather #### 1200", 0.0, 1.0),
        ("#### 1200 that is 12 hundred", 1.0, 0.0),
        ("####1200", 0.0, 1.0),
        ("nothing", 0.0, 0.0),
        ("", 0.0, 0.0),
        ("-1200", 0.0, 0.0),
    ],
)
def test_gsm8k_grades(generated: str, strict: float, flexible: float) -> None:
    got = grade(generated, "Work.\n#### 1,200")
    assert (got["exact_match"], got["exact_match_flexible"]) == (strict, flexible)


def test_hellaswag_has_no_training_set_of_its_own_here(data: Path) -> None:
    task = Hellaswag(TaskSetup(MODEL, data))
    assert "hellaswag" not in dict(task.info.domains)
    question = task.spec.visible[0]
    assert isinstance(question, Choice)
    assert question.options == ("a", " b")


def test_hellaswag_counts_its_two_sources_apart(data: Path) -> None:
    rows = [
        {"ind": i % 20, "query": unique("swag", i), "choices": ["a", " b"], "answer": 0}
        for i in range(40)
    ]
    put(data, "hellaswag", "val", rows)
    assert sum(Hellaswag(TaskSetup(MODEL, data)).info.items) == 40
