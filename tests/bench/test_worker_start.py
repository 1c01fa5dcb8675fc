"""From nothing to the first optimiser step: a worker of ours against an ordinary PEFT script.

Both are processes of their own, one thread, the same model and the same rows. A run's first worker
waits for the template to import and load; every other one, and every one that replaces another, is
forked from it. ``after_imports`` in ``extra_info`` is the ratio without what the script pays for
importing torch, transformers and peft; the second trial of a worker, which a script would start
from nothing again, is there as well.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from jobs_bench.assets.models import SMOLLM2, resolve
from jobs_bench.errors import MissingError
from jobs_bench.runner.template import Nursery
from jobs_bench.runner.worker_process import WorkerProcess
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

TEMPLATE_SCRIPT = """
import gc, json, os, socket, sys, time
from pathlib import Path
from jobs_bench.cli.template import stay_forkable
from jobs_bench.runner.forking import serve_forks
from jobs_bench.runner.lifeline import die_with_parent
die_with_parent()
stay_forkable()
begin = time.perf_counter()
import torch
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
control = socket.socket(fileno=os.dup(0))
control.recv(1 << 16)
rows = [Row(**json.loads(line)) for line in open(sys.argv[2])]
model = LanguageModel(Path(sys.argv[1]), torch.device("cpu"))
recipe = Recipe(Fidelity((1,)), batch_size=4, max_length=256)
stream = MixtureStream(model, [Domain("all", rows)], 4, 256, True)
config = Configuration({"mixture": Mixture({"all": 1.0}), "method": "lora", "r": 8,
                        "target_modules": ("attention", "mlp"), "learning_rate": 1e-4})
with trainable(model, config, 0):
    pass
def work(out):
    gc.enable()
    for line in sys.stdin:
        begun = time.perf_counter()
        with trainable(model, config, json.loads(line)["seed"]) as adapted:
            for _ in Trainer(adapted, stream, recipe, 0).run([1]):
                step = time.perf_counter() - begun
                out.write(json.dumps({"outcome": [imported - begin, step]}) + "\\n")
                out.flush()
control.sendall(b'{"ready": true}')
gc.freeze()
serve_forks(control, work)
"""


class Starts:
    """Times from nothing to the first step."""

    def __init__(self, folder: Path, rows: Path, logs: Path) -> None:
        self._arguments = [str(folder), str(rows)]
        self._logs = logs
        self._nursery = self._new()
        self.peer: list[list[float]] = []
        self.steps: list[float] = []
        self.forks: list[float] = []

    def _new(self) -> Nursery:
        command = [sys.executable, "-P", "-c", TEMPLATE_SCRIPT, *self._arguments]
        return Nursery(command, {}, self._logs, {**os.environ, "OMP_NUM_THREADS": "1"})

    def script(self) -> None:
        """Run the PEFT script."""
        command = [sys.executable, "-P", "-c", PEFT_SCRIPT, *self._arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
        self.peer.append(json.loads(done.stdout.splitlines()[-1]))

    def cold(self) -> None:
        """Start a template, and a worker from it."""
        self.close()
        self._nursery = self._new()
        self.forked()

    def forked(self) -> None:
        """Fork a worker; end it after its step."""
        begin = time.perf_counter()
        worker = self._worker()
        self._step(worker, 1)
        self.forks.append(time.perf_counter() - begin)
        worker.kill()

    def second_trial(self) -> float:
        """Return the seconds of a worker's second trial."""
        worker = self._worker()
        self._step(worker, 1)
        begin = time.perf_counter()
        self._step(worker, 2)
        seconds = time.perf_counter() - begin
        worker.kill()
        return seconds

    def _worker(self) -> WorkerProcess:
        log = self._logs / "worker.log"
        process = self._nursery.fork(log)
        assert process is not None
        return WorkerProcess(process, log)

    def _step(self, worker: WorkerProcess, seed: int) -> None:
        answer = worker.call({"seed": seed}, None)
        assert answer is not None, worker.obituary()
        self.steps.append(answer["outcome"][1])

    def close(self) -> None:
        """End the template."""
        self._nursery.close()


@pytest.fixture(params=["pocket", "smollm2-135m"])
def starts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Starts]:
    """Return starts on a model."""
    if request.param != "pocket" and not os.environ.get(DATA_VARIABLE):
        pytest.skip(f"{DATA_VARIABLE} is not set")
    folder, domains = _domains(request.param)
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": r.prompt, "answer": r.answer} for d in domains for r in d.rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = Starts(folder, file, tmp_path)
    yield made
    made.close()


def _domains(name: str) -> tuple[Path, list[Domain]]:
    try:
        facts = resolve(SMOLLM2 if name == "smollm2-135m" else "pocket")
    except MissingError as err:
        pytest.skip(str(err))
    task = ArcEasy if name == "smollm2-135m" else PocketWord2
    return facts.path, list(task(TaskSetup(facts, None)).spec.domains)


@pytest.mark.data
@pytest.mark.benchmark(group="worker start")
def test_first_worker(race: Race, starts: Starts) -> None:
    race(
        starts.cold,
        starts.script,
        "a run's first worker, its template included, to the first step, against a PEFT script",
        rounds=5,
    )


@pytest.mark.data
@pytest.mark.benchmark(group="worker start")
def test_further_worker(race: Race, benchmark: BenchmarkFixture, starts: Starts) -> None:
    starts.forked()  # the template is there
    race(
        starts.forked,
        starts.script,
        "a further worker, or one that replaces another, to the first step, against a PEFT script",
        rounds=5,
    )
    imports, after = (statistics.median(part) for part in list(zip(*starts.peer, strict=True))[:2])
    ours = statistics.median(starts.forks[-5:])
    benchmark.extra_info |= {
        "peer_imports_s": imports,
        "peer_first_step_s": after,
        "after_imports": after / ours,
        "ours_fork_to_step_s": ours,
        "ours_step_s": statistics.median(starts.steps),
        "second_trial": (imports + after)
        / statistics.median(starts.second_trial() for _ in range(3)),
    }
