"""Eight trials in shared passes against eight loops, one after the other.

``peft`` is the loop as users write it: PEFT on a `transformers` model, loss from all logits,
clipping, `torch.optim.AdamW`. ``unpacked`` is our own `Trainer`. Everybody sees the same rows, and
all adapters stand ready before the clock starts; after a round they must be the same up to
rounding. What setting them up costs is in ``extra_info``. The limit is a matrix product's speed;
the work is what a frozen model cannot do without: forward, and backward to the activations.

``trl`` is its `SFTTrainer` on tokenised rows, one a trial, where TRL is installed. It trains in
float32 and without recomputation, which are not its defaults. Its dropout masks are its own, so
adapters with dropout are not compared. One call of ``train`` is timed: it makes loader and
schedule anew, keeps the optimiser, and measures entropy and accuracy at every step; the steps
alone, from the first to the last, are in ``extra_info``.
"""

from __future__ import annotations

import copy
import dataclasses
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from pytest_benchmark.fixture import BenchmarkFixture
from transformers import TrainerCallback

from jobs_bench.assets.models import SMOLLM2, resolve
from jobs_bench.errors import MissingError
from jobs_bench.fidelity import Fidelity
from jobs_bench.space.configuration import AxisValue, Configuration, Mixture
from jobs_bench.task.contract import ModelFacts, TaskSetup
from jobs_bench.task.finetune import Domain, Recipe, Row
from jobs_bench.train.adapter import peft_config, trainable
from jobs_bench.train.batches import Encoded, MixtureStream
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.low_rank import low_rank
from jobs_bench.train.packed import Member, PackedTrainer
from jobs_bench.train.trainer import Trainer, step_seed
from jobs_bench_tasks.pocket.task import PocketWord2

Race = Callable[..., None]

BOTH = ("attention", "mlp")
TRIALS: list[dict[str, AxisValue]] = [
    {"r": 4, "target_modules": BOTH},
    {"r": 8, "target_modules": BOTH, "lora_dropout": 0.05},
    {"r": 8, "target_modules": ("attention",)},
    {"r": 16, "target_modules": BOTH},
    {"r": 16, "target_modules": ("mlp",), "lora_dropout": 0.1},
    {"r": 2, "target_modules": ("attention",), "lora_dropout": 0.05},
    {"r": 32, "target_modules": BOTH},
    {"r": 4, "target_modules": ("mlp",), "lora_dropout": 0.05},
]
CASES = {"pocket, B=1": ("pocket", 1, 8), "pocket, B=4": ("pocket", 4, 8), SMOLLM2: (SMOLLM2, 1, 1)}
"""Model, rows a step, steps a round."""


@dataclasses.dataclass(frozen=True)
class Ground:
    """What all loops run on."""

    facts: ModelFacts
    model: LanguageModel
    stream: MixtureStream
    recipe: Recipe
    configs: list[Configuration]
    steps: int


@pytest.fixture(params=CASES)
def ground(request: pytest.FixtureRequest) -> Ground:
    name, rows, steps = CASES[request.param]
    try:
        facts = resolve(name)
    except MissingError as err:
        pytest.skip(str(err))
    model = LanguageModel(facts.path, torch.device("cpu"))
    length = 64 if name == "pocket" else 128
    domains = (
        list(PocketWord2(TaskSetup(facts, None)).spec.domains)
        if name == "pocket"
        else [Domain("words", [_long_row(i) for i in range(64)])]
    )
    recipe = Recipe(Fidelity((1000,)), rows, length, 0, "constant")
    mixture = Mixture({d.name: 1 / len(domains) for d in domains})
    configs = [
        Configuration({"mixture": mixture, "learning_rate": 1e-4 * (1 + i), "scaling": 2.0, **t})
        for i, t in enumerate(TRIALS)
    ]
    stream = MixtureStream(model, domains, rows, length, stratified=True)
    return Ground(facts, model, stream, recipe, configs, steps)


def _long_row(seed: int) -> Row:
    """A prompt that is cut to 128 tokens, of which some 16 are the answer."""
    rng = random.Random(seed)
    words = ["river", "stone", "seven", "carries", "light", "under", "the", "old", "green", "hill"]
    text = " ".join(rng.choices(words, k=200))
    return Row(text, " " + " ".join(rng.choices(words, k=15)))


def _packed(ground: Ground) -> tuple[Callable[[], None], Callable[[], list[Any]]]:
    trainer = PackedTrainer(ground.model, ground.stream, ground.recipe)
    members = [
        Member(low_rank(ground.model, c, i), i, ground.recipe) for i, c in enumerate(ground.configs)
    ]
    for member in members:
        trainer.join(member)

    def run() -> None:
        for member in members:
            member.head_for(ground.stream, member.step + ground.steps)
        for _ in range(ground.steps):
            assert not trainer.step()

    return run, lambda: [m.adapter.state() for m in members]


def _by_peft(ground: Ground) -> tuple[Callable[[], None], Callable[[], list[Any]]]:
    """One PeftModel a trial, all on the same base weights."""
    base = ground.model.hf
    loops: list[tuple[Any, list[Any], Any]] = []
    for i, config in enumerate(ground.configs):
        own = copy.deepcopy(base, {id(p): p for p in base.parameters()})
        torch.manual_seed(i)
        model = get_peft_model(own, peft_config(ground.model, config)).train()
        params = [p for p in model.parameters() if p.requires_grad]
        rate = config.number("learning_rate")
        loops.append((model, params, torch.optim.AdamW(params, lr=rate, weight_decay=0.0)))
    done = 0

    def run() -> None:
        nonlocal done
        for i, (model, params, optimiser) in enumerate(loops):
            mixture = ground.configs[i].mixture()
            drawn = ground.stream.draw(mixture, i, done, done + ground.steps)
            for step, rows in enumerate(drawn, start=done + 1):
                torch.manual_seed(step_seed(i, step))  # dropout masks as ours
                model(**_user_batch(rows, ground.model.pad_id)).loss.backward()
                torch.nn.utils.clip_grad_norm_(params, ground.recipe.max_grad_norm)
                optimiser.step()
                optimiser.zero_grad()
        done += ground.steps

    def state() -> list[Any]:
        return [
            {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
            for model, _, _ in loops
        ]

    return run, state


def _user_batch(rows: Sequence[Encoded], pad: int) -> dict[str, torch.Tensor]:
    width = max(len(r.ids) for r in rows)
    ids = [[*r.ids, *[pad] * (width - len(r.ids))] for r in rows]
    mask = [[1] * len(r.ids) + [0] * (width - len(r.ids)) for r in rows]
    labels = [
        [-100] * r.answer + list(r.ids[r.answer :]) + [-100] * (width - len(r.ids)) for r in rows
    ]
    plain = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.tensor(values) for name, values in plain.items()}


def _unpacked(
    ground: Ground, stack: ExitStack
) -> tuple[Callable[[], None], Callable[[], list[Any]]]:
    """Our `Trainer`, one model of its own a trial, all on the same base weights."""
    trainers = []
    for i, config in enumerate(ground.configs):
        own = copy.copy(ground.model)
        base = ground.model.hf
        own.hf = copy.deepcopy(base, {id(p): p for p in base.parameters()})
        adapted = stack.enter_context(trainable(own, config, i))
        trainers.append(Trainer(adapted, ground.stream, ground.recipe, i))

    def run() -> None:
        for trainer in trainers:
            for _ in trainer.run([trainer.step + ground.steps]):
                pass

    return run, lambda: [t.state().params for t in trainers]


class _Steps(TrainerCallback):
    """Adds up the seconds from the beginning of the first step to the end of the last."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._ended = time.perf_counter()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.calls.append(self._ended - self._began)


def _by_trl(
    ground: Ground, folder: Path, clock: _Steps
) -> tuple[Callable[[], None], Callable[[], list[Any]]]:
    """One `SFTTrainer` a trial, all on the same base weights."""
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    base = ground.model.hf
    trainers: list[Any] = []

    def rows(trial: int, done: int) -> list[dict[str, list[int]]]:
        mixture = ground.configs[trial].mixture()
        drawn = ground.stream.draw(mixture, trial, done, done + ground.steps)
        return [
            {"input_ids": list(r.ids), "labels": [-100] * r.answer + list(r.ids[r.answer :])}
            for step in drawn
            for r in step
        ]

    for i, config in enumerate(ground.configs):
        own = copy.deepcopy(base, {id(p): p for p in base.parameters()})
        torch.manual_seed(i)
        model = get_peft_model(own, peft_config(ground.model, config))
        plan = trl.SFTConfig(
            str(folder / str(i)),
            per_device_train_batch_size=ground.recipe.batch_size,
            max_steps=ground.steps,
            max_length=ground.stream.longest,
            train_sampling_strategy="sequential",
            learning_rate=config.number("learning_rate"),
            lr_scheduler_type="constant",
            max_grad_norm=ground.recipe.max_grad_norm,
            seed=i,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainers.append(
            trl.SFTTrainer(
                model,
                plan,
                train_dataset=datasets.Dataset.from_list(rows(i, 0)),
                processing_class=copy.deepcopy(ground.model.tokenizer),
                callbacks=[clock],
            )
        )
    done = 0

    def run() -> None:
        nonlocal done
        for i, trainer in enumerate(trainers):
            if done:
                trainer.train_dataset = rows(i, done)
            trainer.train()
        done += ground.steps

    def state() -> list[Any]:
        return [
            {n: p.detach().clone() for n, p in t.model.named_parameters() if p.requires_grad}
            for t in trainers
        ]

    return run, state


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def _seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = run()
    return time.perf_counter() - began, found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.benchmark(group="packed")
@pytest.mark.parametrize("peer", ["peft", "unpacked", "trl"])
def test_eight_trials(
    race: Race,
    benchmark: BenchmarkFixture,
    gemm_rate_single: float,
    ground: Ground,
    peer: str,
    stack: ExitStack,
    tmp_path: Path,
) -> None:
    clock = _Steps()
    setup, (ours, our_state) = _seconds(lambda: _packed(ground))
    if peer == "peft":
        their_setup, (theirs, their_state) = _seconds(lambda: _by_peft(ground))
    elif peer == "unpacked":
        their_setup, (theirs, their_state) = _seconds(lambda: _unpacked(ground, stack))
    else:
        their_setup, (theirs, their_state) = _seconds(lambda: _by_trl(ground, tmp_path, clock))
    begin = our_state()
    ours()
    theirs()
    states = zip(ground.configs, our_state(), their_state(), begin, strict=True)
    for config, got, wanted, before in states:
        if peer == "trl" and config.number("lora_dropout", 0.0):
            continue
        assert got.keys() == wanted.keys()
        moved = sum(float((wanted[n] - before[n]).square().sum()) for n in wanted) ** 0.5
        apart = sum(float((wanted[n] - got[n]).square().sum()) for n in wanted) ** 0.5
        assert apart < 0.02 * moved, f"{apart} apart after having moved by {moved}"
    tokens = labelled = 0
    for i, config in enumerate(ground.configs):
        for rows in ground.stream.draw(config.mixture(), i, 0, ground.steps):
            tokens += sum(len(r.ids) for r in rows)
            labelled += sum(len(r.ids) - r.answer for r in rows)
    head = ground.facts.hidden * ground.facts.vocab
    blocks = ground.facts.n_params - head
    race(
        ours,
        theirs,
        f"8 trials of mixed rank and modules, {ground.facts.name}, "
        f"B={ground.recipe.batch_size}, {tokens / 8 / ground.steps:.0f} tokens and "
        f"{labelled / 8 / ground.steps:.0f} labels a step, packed against {peer}",
        rounds=5,
        work=4.0 * (tokens * blocks + labelled * head),
        limit=gemm_rate_single,
        unit="flop/s",
    )
    benchmark.extra_info |= {"setup_ours_s": setup, "setup_peer_s": their_setup}
    if clock.calls:
        calls = clock.calls[len(ground.configs) :]  # the first call of each warms up
        steps_ms = statistics.fmean(calls) * len(ground.configs) * 1e3
        ours_ms = benchmark.extra_info["ours_ms"]
        benchmark.extra_info |= {"steps_peer_ms": steps_ms, "steps_ratio": steps_ms / ours_ms}


@pytest.fixture(scope="session")
def gemm_rate_single() -> float:
    """Single-precision operations a second of this process's matrix product."""
    a = torch.rand((768, 768))
    return 2 * 768**3 / min(_seconds(lambda: a @ a)[0] for _ in range(30))
