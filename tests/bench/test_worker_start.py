"""From nothing to the first optimiser step: a worker of ours against an ordinary PEFT script.

Both are processes of their own, one thread, the same model and the same rows. ``after_imports`` in
``extra_info`` is the ratio without what both pay for importing torch, transformers and peft; the
second trial of a worker, which a script would start from nothing again, is there as well.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from jobs_bench.assets.models import SMOLLM2, resolve
from jobs_bench.errors import MissingError
from jobs_bench.task.contract import TaskSetup
from jobs_bench.task.finetune import Domain
from jobs_bench.task.sources import DATA_VARIABLE
from jobs_bench_tasks.arc import ArcEasy
from jobs_bench_tasks.pocket.task import PocketWord2

Race = Callable[..., None]

PEFT_SCRIPT = """
import json, sys, time
begin = time.perf_counter()
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
imported = time.perf_counter()
folder, rows = sys.argv[1], [json.loads(line) for line in open(sys.argv[2])]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
ids = tokenizer([r["prompt"] + r["answer"] for r in rows])["input_ids"]
heads = [len(i) for i in tokenizer([r["prompt"] for r in rows])["input_ids"]]
model = get_peft_model(
    model, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules="all-linear")
)
optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
model.train()
batch = [i[:256] for i in ids[:4]]
width = max(map(len, batch))
inputs = torch.tensor([b + [0] * (width - len(b)) for b in batch])
labels = torch.tensor(
    [[-100] * h + b[h:] + [-100] * (width - max(len(b), h)) for b, h in zip(batch, heads)]
)
mask = torch.tensor([[1] * len(b) + [0] * (width - len(b)) for b in batch])
model(input_ids=inputs, attention_mask=mask, labels=labels[:, :width]).loss.backward()
optimiser.step()
print(json.dumps([imported - begin, time.perf_counter() - imported, 0]))
"""

OUR_SCRIPT = """
import json, sys, time
begin = time.perf_counter()
import torch
from pathlib import Path
from jobs_bench.evaluator.finetune import FineTuneEvaluator
from jobs_bench.fidelity import Fidelity
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.task.finetune import Domain, Recipe, Row
from jobs_bench.train.adapter import trainable
from jobs_bench.train.batches import MixtureStream
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.trainer import Trainer
torch.set_num_threads(1)
imported = time.perf_counter()
rows = [Row(**json.loads(line)) for line in open(sys.argv[2])]
model = LanguageModel(Path(sys.argv[1]), torch.device("cpu"))
recipe = Recipe(Fidelity((1,)), batch_size=4, max_length=256)
stream = MixtureStream(model, [Domain("all", rows)], 4, 256, True)
config = Configuration({"mixture": Mixture({"all": 1.0}), "method": "lora", "r": 8,
                        "target_modules": ("attention", "mlp"), "learning_rate": 1e-4})
def first_step(seed):
    with trainable(model, config, seed) as adapted:
        for _ in Trainer(adapted, stream, recipe, seed).run([1]):
            pass
first_step(0)
once = time.perf_counter()
first_step(1)
print(json.dumps([imported - begin, once - imported, time.perf_counter() - once]))
"""


def _domains(name: str) -> tuple[Path, list[Domain]]:
    try:
        facts = resolve(SMOLLM2 if name == "smollm2-135m" else "pocket")
    except MissingError as err:
        pytest.skip(str(err))
    task = ArcEasy if name == "smollm2-135m" else PocketWord2
    return facts.path, list(task(TaskSetup(facts, None)).spec.domains)


@pytest.mark.data
@pytest.mark.benchmark(group="worker start")
@pytest.mark.parametrize("name", ["pocket", "smollm2-135m"])
def test_worker_start(race: Race, benchmark: BenchmarkFixture, name: str, tmp_path: Path) -> None:
    if name != "pocket" and not os.environ.get(DATA_VARIABLE):
        pytest.skip(f"{DATA_VARIABLE} is not set")
    folder, domains = _domains(name)
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": r.prompt, "answer": r.answer} for d in domains for r in d.rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said: dict[str, list[list[float]]] = {"ours": [], "peer": []}

    def start(who: str, script: str) -> None:
        command = [sys.executable, "-P", "-c", script, str(folder), str(file)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
        said[who].append(json.loads(done.stdout.splitlines()[-1]))

    race(
        lambda: start("ours", OUR_SCRIPT),
        lambda: start("peer", PEFT_SCRIPT),
        f"{name}, {len(rows)} rows: process start to the first step, ours against a PEFT script",
        rounds=5,
    )
    parts = {who: [statistics.median(p) for p in zip(*s, strict=True)] for who, s in said.items()}
    names = ("imports_s", "first_step_s", "second_trial_s")
    benchmark.extra_info |= {
        **{f"ours_{n}": v for n, v in zip(names, parts["ours"], strict=True)},
        **{f"peer_{n}": v for n, v in zip(names[:2], parts["peer"], strict=False)},
        "after_imports": parts["peer"][1] / parts["ours"][1],
        "second_trial": sum(parts["peer"][:2]) / parts["ours"][2],
    }
