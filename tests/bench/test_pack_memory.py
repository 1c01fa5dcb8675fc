"""Peak memory of eight packed trials in one process against eight processes of one trial each.

``peft`` is the loop as users write it, ``unpacked`` is our own worker without packing; each loads
its model and its tokenizer and takes a few steps of one trial. The eight run one after the other
and their peaks are added up: at the same time each of them would have its own. Two sums:

* ``resident``: ``VmHWM``, all that a process has in memory at its peak.
* ``proportional``: what eight at once would take, pages of files (libraries, mapped weights), which
  they would share, counted once. It is the peak of the anonymous memory, sampled, a process, and
  the largest ``RssFile``.

``ru_maxrss`` would not do: a process inherits it from the one that started it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from jobs_bench.assets.models import SMOLLM2, resolve
from jobs_bench.errors import MissingError
from jobs_bench.task.contract import TaskSetup
from jobs_bench.task.cost import GROUPS
from jobs_bench_tasks.pocket.task import PocketWord2

STATUS = Path("/proc/self/status")
WANTED = 1 / 4
"""Share of the peers' memory that a pack should take at most; recorded beside what it took."""
STEPS = 4
EVERY_S = 0.002
"""Between two looks at a process."""

TRIALS: list[dict[str, Any]] = [
    {"r": 4, "groups": ["attention", "mlp"], "dropout": 0.0},
    {"r": 8, "groups": ["attention", "mlp"], "dropout": 0.05},
    {"r": 8, "groups": ["attention"], "dropout": 0.0},
    {"r": 16, "groups": ["attention", "mlp"], "dropout": 0.0},
    {"r": 16, "groups": ["mlp"], "dropout": 0.1},
    {"r": 2, "groups": ["attention"], "dropout": 0.05},
    {"r": 32, "groups": ["attention", "mlp"], "dropout": 0.0},
    {"r": 4, "groups": ["mlp"], "dropout": 0.05},
]

PEFT_SCRIPT = """
import json, sys
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
job = json.load(open(sys.argv[1]))
(trial,) = job["trials"]
tokenizer = AutoTokenizer.from_pretrained(job["folder"])
model = AutoModelForCausalLM.from_pretrained(job["folder"], dtype=torch.float32)
model = get_peft_model(model, LoraConfig(
    task_type="CAUSAL_LM", r=trial["r"], lora_alpha=2 * trial["r"], lora_dropout=trial["dropout"],
    target_modules=trial["modules"],
))
model.train()
params = [p for p in model.parameters() if p.requires_grad]
optimiser = torch.optim.AdamW(params, lr=1e-4, weight_decay=0.0)
def encode(row):
    ids = tokenizer(row["prompt"] + row["answer"])["input_ids"] + [tokenizer.eos_token_id]
    head = len(tokenizer(row["prompt"])["input_ids"])
    labels = [-100] * head + ids[head:]
    return torch.tensor([ids[-job["length"]:]]), torch.tensor([labels[-job["length"]:]])
encoded = [encode(row) for row in job["rows"]]
for step in range(job["steps"]):
    ids, labels = encoded[step]
    model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels).loss.backward()
    torch.nn.utils.clip_grad_norm_(params, 1.0)
    optimiser.step()
    optimiser.zero_grad()
"""

OUR_START = """
import json, sys
import torch
from pathlib import Path
from jobs_bench.fidelity import Fidelity
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.task.finetune import Domain, Recipe, Row
from jobs_bench.train.adapter import trainable
from jobs_bench.train.batches import MixtureStream
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.low_rank import low_rank
from jobs_bench.train.packed import Member, PackedTrainer
from jobs_bench.train.trainer import Trainer
torch.set_num_threads(1)
job = json.load(open(sys.argv[1]))
model = LanguageModel(Path(job["folder"]), torch.device("cpu"))
recipe = Recipe(Fidelity((1000,)), 1, job["length"], 0, "constant")
stream = MixtureStream(model, [Domain("all", [Row(**r) for r in job["rows"]])], 1, job["length"],
                       True)
configs = [Configuration({
    "mixture": Mixture({"all": 1.0}), "learning_rate": 1e-4, "scaling": 2.0, "r": t["r"],
    "target_modules": tuple(t["groups"]), "lora_dropout": t["dropout"],
}) for t in job["trials"]]
"""

PACKED_SCRIPT = f"""{OUR_START}
trainer = PackedTrainer(model, stream, recipe)
members = [Member(low_rank(model, c, i), i, recipe) for i, c in enumerate(configs)]
for member in members:
    trainer.join(member)
    member.head_for(stream, job["steps"])
for _ in range(job["steps"]):
    assert not trainer.step()
"""

UNPACKED_SCRIPT = f"""{OUR_START}
(config,) = configs
with trainable(model, config, 0) as adapted:
    for _ in Trainer(adapted, stream, recipe, 0).run([job["steps"]]):
        pass
"""

LAST_WORDS = """
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({name: int(status[name].split()[0]) for name in ("VmHWM", "RssFile")}))
"""


@dataclass(frozen=True, slots=True)
class Peak:
    """What one process needed at most.

    Attributes:
        resident_mib: All that it had in memory.
        anonymous_mib: What no other process can share.
        files_mib: Pages of files, at its end.
        wall_s: From start to end.
    """

    resident_mib: float
    anonymous_mib: float
    files_mib: float
    wall_s: float


def _run(script: str, job: Path) -> Peak:
    """Run a script in a process of its own and watch it from outside."""
    began = time.perf_counter()
    command = [sys.executable, "-P", "-c", script + LAST_WORDS, str(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    anonymous = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        while process.poll() is None:
            anonymous = max(anonymous, _anonymous_kib(process.pid))
            time.sleep(EVERY_S)
        assert process.stdout is not None
        said = process.stdout.read()
    assert process.returncode == 0
    end = json.loads(said.splitlines()[-1])
    wall = time.perf_counter() - began
    return Peak(end["VmHWM"] / 1024, anonymous / 1024, end["RssFile"] / 1024, wall)


def _anonymous_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except ProcessLookupError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def _job(name: str) -> dict[str, Any]:
    """Return what all scripts are told: model, rows, trials."""
    try:
        facts = resolve(name)
    except MissingError as err:
        pytest.skip(str(err))
    if name == "pocket":
        domain = PocketWord2(TaskSetup(facts, None)).spec.domains[0]
        rows = [{"prompt": r.prompt, "answer": r.answer} for r in domain.rows[: 8 * STEPS]]
    else:
        rows = [_long_row(i) for i in range(8 * STEPS)]
    trials = [{**t, "modules": [m for g in t["groups"] for m in GROUPS[g]]} for t in TRIALS]
    length = min(128, facts.context)
    return {
        "folder": str(facts.path),
        "length": length,
        "steps": STEPS,
        "rows": rows,
        "trials": trials,
    }


def _long_row(seed: int) -> dict[str, str]:
    """A prompt that is cut to 128 tokens, of which some 16 are the answer."""
    rng = random.Random(seed)
    words = ["river", "stone", "seven", "carries", "light", "under", "the", "old", "green", "hill"]
    answer = " " + " ".join(rng.choices(words, k=15))
    return {"prompt": " ".join(rng.choices(words, k=200)), "answer": answer}


def _resident(peaks: Sequence[Peak]) -> float:
    return sum(p.resident_mib for p in peaks)


def _proportional(peaks: Sequence[Peak]) -> float:
    return sum(p.anonymous_mib for p in peaks) + max(p.files_mib for p in peaks)


@pytest.mark.skipif(not STATUS.is_file(), reason="memory is read from /proc")
@pytest.mark.benchmark(group="pack memory")
@pytest.mark.parametrize("peer", ["peft", "unpacked"])
@pytest.mark.parametrize("name", ["pocket", SMOLLM2])
def test_eight_trials(benchmark: BenchmarkFixture, name: str, peer: str, tmp_path: Path) -> None:
    job = _job(name)
    whole = tmp_path / "all.json"
    whole.write_text(json.dumps(job))
    ours: list[Peak] = []
    benchmark.pedantic(lambda: ours.append(_run(PACKED_SCRIPT, whole)), rounds=1)
    theirs: list[Peak] = []
    for i, trial in enumerate(job["trials"]):
        single = tmp_path / f"{i}.json"
        rows = job["rows"][i * STEPS : (i + 1) * STEPS]
        single.write_text(json.dumps({**job, "trials": [trial], "rows": rows}))
        theirs.append(_run(PEFT_SCRIPT if peer == "peft" else UNPACKED_SCRIPT, single))
    resident = _resident(ours) / _resident(theirs)
    proportional = _proportional(ours) / _proportional(theirs)
    benchmark.extra_info |= {
        "what": f"8 trials, {name}, B=1, {job['length']} tokens at most: one process with a pack "
        f"against 8 processes ({peer})",
        "wanted_share": WANTED,
        "resident_mib": _resident(ours),
        "resident_peer_mib": _resident(theirs),
        "resident_share": resident,
        "proportional_mib": _proportional(ours),
        "proportional_peer_mib": _proportional(theirs),
        "proportional_share": proportional,
        "files_mib": ours[0].files_mib,
        "files_peer_mib": max(p.files_mib for p in theirs),
        "wall_s": ours[0].wall_s,
        "wall_peer_s": sum(p.wall_s for p in theirs),
    }
    assert resident < 0.5
