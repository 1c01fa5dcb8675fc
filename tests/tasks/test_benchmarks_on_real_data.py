"""The benchmark tasks over the real data sets, where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs_bench.task.contract import ModelFacts, TaskSetup
from jobs_bench.task.leakage import refuse_leaks
from jobs_bench.task.sources import CACHE_VARIABLE, DATA_VARIABLE
from jobs_bench_tasks._benchmark import Benchmark
from jobs_bench_tasks.arc import ArcChallenge, ArcEasy
from jobs_bench_tasks.commonsense_qa import CommonsenseQa
from jobs_bench_tasks.gsm8k import Gsm8k
from jobs_bench_tasks.headqa_en import HeadQaEn
from jobs_bench_tasks.hellaswag import Hellaswag
from jobs_bench_tasks.mmlu import Mmlu
from jobs_bench_tasks.pubmedqa import PubMedQa
from jobs_bench_tasks.sciq import SciQ
from jobs_bench_tasks.triviaqa import TriviaQa
from jobs_bench_tasks.truthfulqa import TruthfulQaGen, TruthfulQaMc1, TruthfulQaMc2
from jobs_bench_tasks.wikitext import WikiText

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not os.environ.get(DATA_VARIABLE), reason=f"{DATA_VARIABLE} is not set"),
]

MODEL = ModelFacts("m", Path("/model"), "d", 30, 134_515_008, 576, 49_152, 8192, 192, 1536)


FIRST_VISIBLE = ["Mercury_7217438", "Mercury_SC_400365", "Mercury_415686"]


@pytest.fixture(autouse=True)
def _no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))


ALL: list[type[Benchmark]] = [
    ArcChallenge,
    ArcEasy,
    CommonsenseQa,
    Gsm8k,
    HeadQaEn,
    Hellaswag,
    Mmlu,
    PubMedQa,
    SciQ,
    TriviaQa,
    TruthfulQaGen,
    TruthfulQaMc1,
    TruthfulQaMc2,
    WikiText,
]


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.plan.name)
def test_every_task_reads_its_data_and_leaks_nothing(task: type[Benchmark]) -> None:
    made = task(TaskSetup(MODEL))
    questions = {"arc_challenge", "arc_easy", "commonsense_qa", "gsm8k", "headqa_en", "mmlu"}
    own = {"wikitext"} if task is WikiText else set()
    assert questions | own | {"pubmedqa", "sciq"} == set(dict(made.info.domains))
    assert "non-commercial-data" in made.info.tags
    contexts = [q.context for q in (*made.spec.visible, *made.spec.hidden) if q.context]
    refuse_leaks(made.spec.domains, contexts)
    charges = made.cost(made.references().default, 0, made.fidelity().horizon)
    # 100 steps of 4 rows, four evaluations: what a laptop can do in minutes
    assert 2e4 < charges[0].tok < 6e4
    assert 2e4 < charges[1].tok < 2e5


def test_splits_are_frozen() -> None:
    task = ArcEasy(TaskSetup(MODEL), domains="arc_easy")
    assert [q.id for q in task.spec.visible[:3]] == FIRST_VISIBLE
    assert not {q.id for q in task.spec.visible} & {q.id for q in task.spec.hidden}
