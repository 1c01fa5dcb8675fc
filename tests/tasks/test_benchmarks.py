"""The benchmark tasks over data sets made here, in the layout of the real ones."""

from __future__ import annotations

import json
import sys
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
from jobs_bench.task.finetune import Choice, Generate, Pairs, Passage, Row
from jobs_bench.task.sources import CACHE_VARIABLE, DATA_VARIABLE
from jobs_bench_tasks._benchmark import Benchmark
from jobs_bench_tasks.arc import ArcChallenge, ArcEasy
from jobs_bench_tasks.commonsense_qa import CommonsenseQa
from jobs_bench_tasks.gsm8k import Gsm8k, grade
from jobs_bench_tasks.headqa_en import HeadQaEn
from jobs_bench_tasks.hellaswag import Hellaswag
from jobs_bench_tasks.lm_eval import LmEval
from jobs_bench_tasks.mmlu import Mmlu
from jobs_bench_tasks.pubmedqa import PubMedQa
from jobs_bench_tasks.sciq import SciQ
from jobs_bench_tasks.triviaqa import TriviaQa
from jobs_bench_tasks.truthfulqa import TruthfulQaGen, TruthfulQaMc1, TruthfulQaMc2
from jobs_bench_tasks.wikitext import WikiText

MODEL = ModelFacts("m", Path("/model"), "d", 4, 100_000, 32, 200, 2048)
SCORES: dict[type[Benchmark], str] = {
    ArcChallenge: "acc_norm",
    ArcEasy: "acc",
    CommonsenseQa: "acc",
    Gsm8k: "exact_match",
    HeadQaEn: "acc",
    Hellaswag: "acc_norm",
    Mmlu: "acc",
    PubMedQa: "acc",
    SciQ: "acc_norm",
    TriviaQa: "exact_match",
    TruthfulQaGen: "bleu_acc",
    TruthfulQaMc1: "acc",
    TruthfulQaMc2: "acc",
    WikiText: "word_perplexity",
}
ALL = list(SCORES)

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
    put(root, "headqa_en", "train", choice_rows("headqa train", 200))
    put(root, "headqa_en", "test", choice_rows("headqa test", 40))
    for split, n in (("trainval_500", 200), ("test_500", 40)):
        put(root, "pubmedqa", split, pubmedqa_rows(split, n))
    put(root, "sciq", "validation", sciq_rows(40))
    put(
        root,
        "sciq",
        "train_qa_only",
        [{"question": unique("sciq train", i), "answer": f"thing {i}"} for i in range(200)],
    )
    put(root, "triviaqa_subset", "test_1000", triviaqa_rows("trivia test", 40))
    put(root, "truthfulqa", "v1_generation_817", truthfulqa_rows(40))
    put(root, "truthfulqa", "v1_multiple_choice_817", truthfulqa_rows(40))
    for split, n in (("train", 200), ("test", 40)):
        pages = [
            f" = Page {i} of {split} = \n \n {unique(f'wiki {split}', i)} No , it is .\n"
            for i in range(n)
        ]
        (root / "wikitext2").mkdir(exist_ok=True)
        (root / "wikitext2" / f"{split}.txt").write_text("".join(pages), encoding="utf-8")
    return root


def pubmedqa_rows(kind: str, n: int) -> list[dict[str, Any]]:
    return [
        {
            "pmid": f"{kind}-{i}",
            "question": unique(f"pubmed {kind}", i),
            "contexts": [f"We did {i}.", f"We saw {kind}."],
            "final_decision": ("yes", "no", "maybe")[i % 3],
        }
        for i in range(n)
    ]


def sciq_rows(n: int) -> list[dict[str, Any]]:
    return [
        {
            "question": unique("sciq test", i),
            "distractor3": f"third {i}",
            "distractor1": f"first {i}",
            "distractor2": f"second {i}",
            "correct_answer": f"right {i}",
            "support": " It is so." if i % 2 else "",
        }
        for i in range(n)
    ]


def triviaqa_rows(kind: str, n: int) -> list[dict[str, Any]]:
    return [
        {"id": f"{kind}-{i}", "question": unique(kind, i), "golden_answers": [f"It {i}", f"{i}"]}
        for i in range(n)
    ]


def truthfulqa_rows(n: int) -> list[dict[str, Any]]:
    return [
        {
            "question": unique("truthful", i),
            "best_answer": f"True {i}",
            "correct_answers": [f"True {i}", "Perhaps."],
            "incorrect_answers": [f"False {i}"],
            "mc1_targets": {
                "choices": [f"True {i}", f"False {i}", f"Wrong {i}", f"Untrue {i}"],
                "labels": [1, 0, 0, 0],
            },
            "mc2_targets": {
                "choices": [f"False {i}", f"True {i}", f"Right {i}"],
                "labels": [0, 1, 1],
            },
        }
        for i in range(n)
    ]


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.plan.name)
def test_every_task_meets_the_contract(task: type[Benchmark], data: Path) -> None:
    made = task(TaskSetup(MODEL, data), n_visible=40, n_hidden=40)
    assert isinstance(made, Task)
    info = made.info
    assert info.name == task.plan.name
    assert info.licence
    assert info.reference
    assert min(info.items) > 5
    assert sum(info.items) == 40
    assert info.metric == task.plan.metrics[0]
    smooth = "bits_per_byte" if task is WikiText else "gold_bpb"
    assert smooth in [metric.name for metric in info.metrics]
    own = [name for name, _ in info.domains if name == info.name]
    assert ("in-domain" in info.tags) == bool(own)
    again = task(TaskSetup(MODEL, data), n_visible=40, n_hidden=40)
    assert made.signature() == again.signature()
    charges = made.cost(made.references().default, 0, made.fidelity().horizon)
    assert all(charge.tok > 0 and charge.flop > 0 for charge in charges)
    assert task.default_model == "smollm2-135m"


def test_default_metrics() -> None:
    assert {task: task.plan.metrics[0].name for task in ALL} == SCORES


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
        ({"domains": "triviaqa"}, MissingError, "jobs-bench fetch triviaqa"),
        ({"domains": "truthfulqa"}, UnknownNameError, "training domain named 'truthfulqa'"),
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
        ({"max_rows": 10, "domains": "arc_easy"}, InputError, "add rows"),
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


def test_the_same_question_with_other_options_is_another(data: Path) -> None:
    rows = sciq_rows(40)
    put(data, "sciq", "validation", [*rows, rows[3], {**rows[3], "distractor1": "another"}])
    assert sum(SciQ(TaskSetup(MODEL, data)).info.items) == 41
    moved = {**rows[3], "distractor1": rows[3]["distractor2"], "distractor2": "first 3"}
    put(data, "sciq", "validation", [*rows, moved])
    assert sum(SciQ(TaskSetup(MODEL, data)).info.items) == 40


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


def test_sciq_puts_the_right_answer_in_no_fixed_place(data: Path) -> None:
    put(data, "sciq", "validation", sciq_rows(90))
    task = SciQ(TaskSetup(MODEL, data))
    assert "non-commercial-data" in task.info.tags
    asked = [q for q in (*task.spec.visible, *task.spec.hidden) if isinstance(q, Choice)]
    assert len(asked) == 90
    assert {q.options[q.gold].split()[0] for q in asked} == {"right"}
    places = [sum(q.gold == place for q in asked) for place in range(4)]
    assert min(places) > 10
    one = next(q for q in asked if "numbered 1?" in q.context)
    assert one.context == f"It is so.\nQuestion: {unique('sciq test', 1)}\nAnswer:"
    none = next(q for q in asked if "numbered 0?" in q.context)
    assert none.context.startswith("\nQuestion: ")


def test_no_commercial_use_is_tagged_for_questions_as_well(data: Path) -> None:
    asked = SciQ(TaskSetup(MODEL, data), domains="gsm8k")
    assert "non-commercial-data" in asked.info.tags
    other = ArcEasy(TaskSetup(MODEL, data), domains="gsm8k")
    assert "non-commercial-data" not in other.info.tags


def test_truthfulqa_is_asked_and_never_trained_on(data: Path) -> None:
    setup = TaskSetup(MODEL, data)
    for kind in (TruthfulQaGen, TruthfulQaMc1, TruthfulQaMc2):
        task = kind(setup)
        assert "evaluation-only" in task.info.tags
        assert not [name for name, _ in task.info.domains if "truthful" in name]
        for question in (*task.spec.visible, *task.spec.hidden):
            assert question.context.startswith("Q: What is human life expectancy in the United")
            assert question.context.count("\n\nQ: ") == 6
        with pytest.raises(OptionError, match="takes no examples"):
            kind(setup, shots=1)
        with pytest.raises(UnknownNameError, match="training domain"):
            ArcEasy(setup, domains=f"arc_easy,{kind.plan.name}")


def test_truthfulqa_forms_share_their_sides(data: Path) -> None:
    sides = [
        {q.id for q in kind(TaskSetup(MODEL, data), n_visible=40).spec.visible}
        for kind in (TruthfulQaGen, TruthfulQaMc1, TruthfulQaMc2)
    ]
    assert sides[0] == sides[1] == sides[2]


def test_a_truthfulqa_question_in_another_source_is_dropped(data: Path) -> None:
    rows = choice_rows("arc_easy train", 200)
    rows[5]["question"] = unique("truthful", 3)
    put(data, "arc_easy", "train", rows)
    task = TruthfulQaMc1(TaskSetup(MODEL, data), domains="arc_easy")
    assert "leaks-dropped=1" in task.info.tags


def test_mc1_puts_the_right_answer_in_no_fixed_place(data: Path) -> None:
    put(data, "truthfulqa", "v1_multiple_choice_817", truthfulqa_rows(90))
    task = TruthfulQaMc1(TaskSetup(MODEL, data))
    asked = [q for q in (*task.spec.visible, *task.spec.hidden) if isinstance(q, Choice)]
    assert {q.options[q.gold].split()[0] for q in asked} == {"True"}
    assert min(sum(q.gold == place for q in asked) for place in range(4)) > 10
    assert all(q.context.endswith("?\nA:") for q in asked)


def test_the_order_of_options_does_not_hang_on_that_of_the_file(data: Path) -> None:
    before = TruthfulQaMc1(TaskSetup(MODEL, data)).signature()
    rows = truthfulqa_rows(40)
    for row in rows:
        row["mc1_targets"]["choices"].reverse()
        row["mc1_targets"]["labels"].reverse()
    put(data, "truthfulqa", "v1_multiple_choice_817", rows[::-1])
    assert TruthfulQaMc1(TaskSetup(MODEL, data)).signature() == before


def test_mc2_asks_for_the_mass_on_all_true_options(data: Path) -> None:
    task = TruthfulQaMc2(TaskSetup(MODEL, data))
    (question,) = [q for q in (*task.spec.visible, *task.spec.hidden) if "numbered 7?" in q.context]
    assert isinstance(question, Pairs)
    assert [text for _, text in question.pairs] == [" False 7", " True 7", " Right 7"]
    assert question.gold == 1
    got = question.rule([-1.0, -1.0, -1.0], [False] * 3)
    assert got["acc"] == pytest.approx(2 / 3)


def test_truthfulqa_in_free_text(data: Path) -> None:
    task = TruthfulQaGen(TaskSetup(MODEL, data))
    (question,) = [q for q in (*task.spec.visible, *task.spec.hidden) if "numbered 7?" in q.context]
    assert isinstance(question, Generate)
    assert question.context.endswith(f"\n\nQ: {unique('truthful', 7)}")
    assert question.delimiter + question.gold == "\nA: True 7"
    assert question.rule is not None
    graded = question.rule("\nA: True 7")
    assert graded["rouge1_acc"] == 1.0
    assert set(graded) | {"gold_bpb"} == {metric.name for metric in task.info.metrics}
    assert question.rule("I have no comment.")["bleu_max"] == pytest.approx(100)


def test_triviaqa_takes_any_accepted_answer(data: Path) -> None:
    task = TriviaQa(TaskSetup(MODEL, data))
    (question,) = [q for q in (*task.spec.visible, *task.spec.hidden) if "numbered 7?" in q.context]
    assert isinstance(question, Generate)
    assert question.context == f"Question: {unique('trivia test', 7)}?\nAnswer:"
    assert question.rule is not None
    answers = {" It 7": 1.0, " it '7'": 1.0, " 7": 1.0, " It": 0.0, " It 7 then": 0.0, "": 0.0}
    assert {a: question.rule(a)["exact_match"] for a in answers} == answers


def test_the_whole_of_triviaqa_goes_before_its_subset(data: Path) -> None:
    put(data, "triviaqa", "val", triviaqa_rows("trivia val", 50))
    put(data, "triviaqa", "train", triviaqa_rows("trivia train", 200))
    task = TriviaQa(TaskSetup(MODEL, data), shots=2)
    assert "in-domain" in task.info.tags
    assert all("Question: trivia val" in q.context for q in task.spec.visible)
    assert all(q.context.count("Question: trivia train") == 2 for q in task.spec.visible)


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.plan.name)
def test_data_that_is_not_there_is_named(task: type[Benchmark], tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingError, match=rf"data set '{task.plan.questions.dataset}' has no"):
        task(TaskSetup(MODEL, empty))


def test_pubmedqa_asks_after_the_abstract(data: Path) -> None:
    task = PubMedQa(TaskSetup(MODEL, data), shots=1)
    (question,) = [
        q
        for q in (*task.spec.visible, *task.spec.hidden)
        if "pubmed test_500" in q.context and "numbered 7?" in q.context
    ]
    assert isinstance(question, Choice)
    shot, asked = question.context.split("\n\n")
    assert "trainval_500" in shot
    wanted = f"Question: {unique('pubmed test_500', 7)}\nAnswer:"
    assert asked == f"Abstract: We did 7.\nWe saw test_500.\n{wanted}"
    assert (question.options, question.gold) == (("yes", "no", "maybe"), 1)


def test_wikitext_is_scored_by_the_words_that_were_written(data: Path) -> None:
    task = WikiText(TaskSetup(MODEL, data), n_visible=40, n_hidden=40)
    assert not task.info.metric.higher_is_better
    pages = [q for q in (*task.spec.visible, *task.spec.hidden) if isinstance(q, Passage)]
    (page,) = [p for p in pages if "= Page 7 of test =" in p.text]
    written = f" = Page 7 of test = \n \n {unique('wiki test', 7)} No , it is ."
    assert page.text == f" = Page 7 of test =\n\n{unique('wiki test', 7)} No, it is ."
    assert page.n_bytes == len(written)
    assert page.words == len(written.split()) + 1
    domain = next(d for d in task.spec.domains if d.name == "wikitext")
    assert {row.prompt for row in domain.rows} == {""}
    assert not [row for row in domain.rows if row.answer.startswith("=")]
    assert len(domain.rows) + len(domain.held_out) == 200
    assert "wikitext" not in dict(ArcEasy(TaskSetup(MODEL, data)).info.domains)
    named = ArcEasy(TaskSetup(MODEL, data), domains="arc_easy,wikitext")
    assert "wikitext" in dict(named.info.domains)


def test_the_adapter_says_what_it_needs(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingError, match=r"jobs-bench\[lm-eval\]"):
        LmEval(TaskSetup(MODEL, data), task="arc_easy")
