"""Scores and their speed against lm-evaluation-harness's `HFLM`: one model, one process, in turns.

They run where ``lm_eval``, the model and the data are. `JOBS_BENCH_BENCH_QUESTIONS` says on how
many questions scores are compared, and how many are answered by generation: 200 in the committed
results, 12 otherwise.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from jobs_bench.assets.models import SMOLLM2, resolve
from jobs_bench.errors import MissingError
from jobs_bench.evaluator.decoding import generate
from jobs_bench.evaluator.likelihood import score_requests
from jobs_bench.evaluator.scoring import Scorer
from jobs_bench.task.contract import TaskSetup
from jobs_bench.task.finetune import Choice, Generate, Question
from jobs_bench.task.sources import DATA_VARIABLE, Sources
from jobs_bench.train.language_model import LanguageModel
from jobs_bench_tasks._benchmark import Benchmark
from jobs_bench_tasks.arc import ArcEasy
from jobs_bench_tasks.commonsense_qa import CommonsenseQa
from jobs_bench_tasks.gsm8k import Gsm8k
from jobs_bench_tasks.hellaswag import Hellaswag
from jobs_bench_tasks.mmlu import Mmlu

lm_models = pytest.importorskip("lm_eval.models.huggingface", reason="lm_eval is not installed")
lm_api = pytest.importorskip("lm_eval.api.instance", reason="lm_eval is not installed")
lm_run = pytest.importorskip("lm_eval.evaluator", reason="lm_eval is not installed")

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not os.environ.get(DATA_VARIABLE), reason=f"{DATA_VARIABLE} is not set"),
    pytest.mark.filterwarnings("ignore"),
]

Race = Callable[..., None]

QUESTIONS = int(os.environ.get("JOBS_BENCH_BENCH_QUESTIONS", "12"))
BATCH_TOKENS = 2048
ANSWER_TOKENS = 4096
"""Batches of generation, answers at their longest included: what an evaluation has by default."""
TOLERANCE = 1e-4

TASKS: dict[str, tuple[type[Benchmark], int]] = {
    "arc_easy": (ArcEasy, 0),
    "commonsense_qa": (CommonsenseQa, 0),
    "hellaswag": (Hellaswag, 0),
    "mmlu": (Mmlu, 5),
    "gsm8k": (Gsm8k, 0),
}


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    try:
        folder = resolve(SMOLLM2).path
    except MissingError as err:
        pytest.skip(str(err))
    return LanguageModel(folder, torch.device("cpu"))


def _harness(model: LanguageModel, batch_size: int) -> Any:
    return lm_models.HFLM(
        pretrained=model.hf, tokenizer=model.tokenizer, batch_size=batch_size, device="cpu"
    )


@cache
def _questions(name: str, n: int, shots: int | None = None) -> tuple[Question, ...]:
    task, usual = TASKS[name]
    shots = usual if shots is None else shots
    made = task(TaskSetup(resolve(SMOLLM2), None), n_visible=1, n_hidden=n, shots=shots)
    return made.spec.hidden


def _texts(question: Question) -> list[str]:
    if isinstance(question, Choice):
        return [question.delimiter + option for option in question.options]
    assert isinstance(question, Generate)
    return [question.delimiter + question.gold]


def _instances(questions: Sequence[Question]) -> list[Any]:
    return [
        lm_api.Instance("loglikelihood", {}, (question.context, text), i)
        for question in questions
        for i, text in enumerate(_texts(question))
    ]


def _rows(model: LanguageModel, questions: Sequence[Question]) -> int:
    """Return how many of the longest rows make a batch of `BATCH_TOKENS`."""
    longest = max(len(model.encode(q.context + t)) for q in questions for t in _texts(q))
    return max(BATCH_TOKENS // longest, 1)


@pytest.mark.parametrize("name", TASKS)
def test_log_likelihoods_are_the_harness_ones(
    name: str, model: LanguageModel, record_property: Callable[[str, object], None]
) -> None:
    questions = _questions(name, QUESTIONS)
    scorer = Scorer(model, questions, TASKS[name][0].plan.generation, BATCH_TOKENS)
    families = [i for i, (first, last) in enumerate(scorer._spans) for _ in range(first, last)]
    ours, _ = score_requests(model, scorer._requests, BATCH_TOKENS, families)
    harness = _harness(model, _rows(model, questions))
    theirs = harness.loglikelihood(_instances(questions), disable_tqdm=True)
    worst = 0.0
    for mine, (total, greedy) in zip(ours, theirs, strict=True):
        worst = max(worst, abs(mine.total - total) / abs(total))
        assert mine.greedy == greedy
    record_property("questions", len(questions))
    record_property("largest relative difference", worst)
    assert worst < TOLERANCE
    for question, (first, last) in zip(questions, scorer._spans, strict=True):
        if isinstance(question, Choice):
            a = [g.total for g in ours[first:last]]
            b = [total for total, _ in theirs[first:last]]
            lengths = [len(option) for option in question.options]
            for weigh in ([1] * len(a), lengths):
                assert _best(a, weigh) == _best(b, weigh)


def _best(totals: Sequence[float], weigh: Sequence[int]) -> int:
    return max(range(len(totals)), key=lambda i: (totals[i] / weigh[i], -i))


def test_answers_are_the_harness_ones(
    model: LanguageModel, record_property: Callable[[str, object], None]
) -> None:
    questions = _questions("gsm8k", QUESTIONS)
    record_property("questions", len(questions))
    ours, theirs = _answers(model, questions)
    _same_answers(questions, ours(), theirs())


def _answers(
    model: LanguageModel, questions: Sequence[Question]
) -> tuple[Callable[[], list[str]], Callable[[], list[str]]]:
    """Return what answers questions of gsm8k by us and by the harness, with the same batches."""
    how = Gsm8k.plan.generation
    assert how is not None
    contexts = [q.context for q in questions]
    longest = max(len(model.encode(c)) for c in contexts) + how.max_new_tokens
    harness = _harness(model, max(ANSWER_TOKENS // longest, 1))
    options = {"until": list(how.stop), "max_gen_toks": how.max_new_tokens, "do_sample": False}

    def theirs() -> list[str]:
        asked = [lm_api.Instance("generate_until", {}, (c, dict(options)), 0) for c in contexts]
        answers: list[str] = harness.generate_until(asked, disable_tqdm=True)
        return answers

    return lambda: generate(model, contexts, how, ANSWER_TOKENS)[0], theirs


def _same_answers(
    questions: Sequence[Question], ours: Sequence[str], theirs: Sequence[str]
) -> None:
    grade = Gsm8k.plan.generation.grade if Gsm8k.plan.generation else None
    assert grade is not None
    for question, mine, other in zip(questions, ours, theirs, strict=True):
        assert isinstance(question, Generate)
        assert grade(mine, question.gold) == grade(other, question.gold)
        assert mine == other


@pytest.mark.benchmark(group="scoring")
def test_answers_with_five_examples(
    race: Race, model: LanguageModel, benchmark: BenchmarkFixture
) -> None:
    """Each side answers the questions three times; the answers are compared every time."""
    questions = _questions("gsm8k", QUESTIONS, 5)
    ours, theirs = _answers(model, questions)
    got: dict[str, list[str]] = {}

    def compared(side: str, answer: Callable[[], list[str]]) -> None:
        got[side] = answer()
        if len(got) == 2:
            _same_answers(questions, got["ours"], got["theirs"])

    benchmark.extra_info |= {"questions": len(questions), "batch tokens": ANSWER_TOKENS}
    race(
        lambda: compared("ours", ours),
        lambda: compared("theirs", theirs),
        "GSM8K 5-shot, answers: generate against HFLM.generate_until",
        rounds=3,
    )


def _race(
    race: Race, model: LanguageModel, questions: Sequence[Question], what: str, rounds: int = 5
) -> None:
    scorer = Scorer(model, questions, None, BATCH_TOKENS)
    harness = _harness(model, _rows(model, questions))
    asked = _instances(questions)
    race(
        scorer.score,
        lambda: harness.loglikelihood(asked, disable_tqdm=True),
        what,
        rounds=rounds,
    )


@pytest.mark.benchmark(group="scoring")
def test_mmlu_of_one_subject(race: Race, model: LanguageModel, benchmark: BenchmarkFixture) -> None:
    """As a whole test set is: many questions behind each five examples."""
    of_all = _questions("mmlu", 10**6)
    questions = [q for q in of_all if "anatomy" in q.context[:80]][:48]
    benchmark.extra_info |= {"questions": len(questions)}
    _race(race, model, questions, "MMLU 5-shot, one subject: Scorer against HFLM.loglikelihood")


@pytest.mark.benchmark(group="scoring")
def test_mmlu_of_all_subjects(
    race: Race, model: LanguageModel, benchmark: BenchmarkFixture
) -> None:
    """As a task asks: a draw of questions over 57 subjects, so that few share examples."""
    questions = _questions("mmlu", 100)
    benchmark.extra_info |= {"questions": len(questions)}
    _race(race, model, questions, "MMLU 5-shot, 100 questions: Scorer against HFLM.loglikelihood")


@pytest.mark.benchmark(group="scoring")
@pytest.mark.parametrize("name", ["arc_easy", "hellaswag"])
def test_four_options(
    race: Race, model: LanguageModel, benchmark: BenchmarkFixture, name: str
) -> None:
    questions = _questions(name, 60)
    benchmark.extra_info |= {"questions": len(questions)}
    _race(race, model, questions, f"{name} 0-shot: Scorer against HFLM.loglikelihood")


@pytest.mark.benchmark(group="scoring")
def test_a_whole_call(
    race: Race, model: LanguageModel, benchmark: BenchmarkFixture, tmp_path: Path
) -> None:
    """100 questions of arc_easy with everything but loading the model."""
    records: list[dict[str, Any]] = Sources.of().read("arc_easy", ("test",), {}, dict)
    file = tmp_path / "asked.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for row in records[:100]:
            labels = list("ABCDE")[: len(row["choices"])]
            answer = labels[row["answer"]]
            choices = {"text": row["choices"], "label": labels}
            out.write(json.dumps({**row, "choices": choices, "answerKey": answer}) + "\n")
    yaml = pytest.importorskip("lm_eval.tasks._yaml_loader")
    home = Path(pytest.importorskip("lm_eval").__file__).parent
    config = yaml.load_yaml(home / "tasks/arc/arc_easy.yaml")
    config |= {"dataset_path": "json", "dataset_name": None, "test_split": "train"}
    config |= {"training_split": None, "validation_split": None, "fewshot_split": "train"}
    config |= {"dataset_kwargs": {"data_files": str(file), "cache_dir": str(tmp_path / "cache")}}
    for surplus in ("group", "tag"):
        config.pop(surplus, None)

    def ours() -> object:
        made = ArcEasy(TaskSetup(resolve(SMOLLM2), None), n_visible=100, n_hidden=1)
        return Scorer(model, made.spec.visible, None, BATCH_TOKENS).score()

    def theirs() -> object:
        batch = 2048 // 64
        return lm_run.simple_evaluate(
            _harness(model, batch), tasks=[dict(config)], bootstrap_iters=0, log_samples=False
        )

    benchmark.extra_info |= {"questions": 100}
    race(ours, theirs, "arc_easy, 100 questions: task and Scorer against simple_evaluate", rounds=5)
