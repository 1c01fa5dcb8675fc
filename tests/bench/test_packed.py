"""Eight trials in shared passes against eight loops, one after the other.

``peft`` is the loop as users write it: PEFT on a `transformers` model, loss from all logits,
clipping, `torch.optim.AdamW`. ``unpacked`` is our own `Trainer`. Everybody sees the same rows, and
all adapters stand ready before the clock starts; after a round they must be the same up to
rounding. What setting them up costs is in ``extra_info``. The limit is a matrix product's speed;
the work is what a frozen model cannot do without: forward, and backward to the activations.
"""

from __future__ import annotations

import copy
import dataclasses
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from peft import get_peft_model
from pytest_benchmark.fixture import BenchmarkFixture

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
@pytest.mark.parametrize("peer", ["peft", "unpacked"])
def test_eight_trials(
    race: Race,
    benchmark: BenchmarkFixture,
    gemm_rate_single: float,
    ground: Ground,
    peer: str,
    stack: ExitStack,
) -> None:
    setup, (ours, our_state) = _seconds(lambda: _packed(ground))
    if peer == "peft":
        their_setup, (theirs, their_state) = _seconds(lambda: _by_peft(ground))
    else:
        their_setup, (theirs, their_state) = _seconds(lambda: _unpacked(ground, stack))
    begin = our_state()
    ours()
    theirs()
    for got, wanted, before in zip(our_state(), their_state(), begin, strict=True):
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


@pytest.fixture(scope="session")
def gemm_rate_single() -> float:
    """Single-precision operations a second of this process's matrix product."""
    a = torch.rand((768, 768))
    return 2 * 768**3 / min(_seconds(lambda: a @ a)[0] for _ in range(30))
