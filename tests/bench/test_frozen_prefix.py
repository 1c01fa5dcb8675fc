"""Would it pay to keep what the base model makes of a row below the lowest adapted layer?

Those layers are frozen and have no adapter, so a row that comes again, in this trial or in another
one, has the same activations there up to rounding. The peer is the pack as it is, which runs these
layers without autograd; ours here is the same pack with a bounded store of the activations at each
member's lowest adapted layer.

``top half`` is the best case: every trial adapts the upper half, and few rows come three times.
``sampled`` is what strategies ask for: eight configurations sampled from the pocket space, with
its own rows and recipe, over a whole horizon. ``ratio_whole`` counts every step, the first ones,
which find nothing, included. What was found stands in ``results/NOTES.md``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor, nn

from jobs_bench.assets.models import SMOLLM2, resolve
from jobs_bench.errors import MissingError
from jobs_bench.fidelity import Fidelity
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.task.contract import TaskSetup
from jobs_bench.task.finetune import Domain, Recipe, Row
from jobs_bench.train.batches import Encoded, MixtureStream
from jobs_bench.train.frozen_prefix import _cut
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.low_rank import low_rank
from jobs_bench.train.packed import Member, PackedTrainer, _Pass
from jobs_bench_tasks.pocket.task import PocketWord2

Race = Callable[..., None]
TRIALS = 8


class Store:
    """Activations ``(tokens, d)`` by row and layer, the oldest out first.

    Attributes:
        found: Rows that were there when they were wanted.
        wanted: Rows of trials that do not adapt the lowest layer.
        skipped: Times that a row went past a layer.
        run: Times that a row went through a layer.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[tuple[int, int], Tensor] = {}
        self.found = self.wanted = self.skipped = self.run = 0

    def get(self, row: Encoded, layer: int) -> Tensor | None:
        return self._kept.get((id(row), layer))

    def put(self, row: Encoded, layer: int, states: Tensor) -> None:
        if len(self._kept) >= self._most:
            self._kept.pop(next(iter(self._kept)))
        self._kept[id(row), layer] = states.clone()

    @property
    def n_bytes(self) -> int:
        return sum(t.nbytes for t in self._kept.values())


class KeepingTrainer(PackedTrainer):
    """A pack whose frozen layers are passed by rows that are in the store."""

    def __init__(self, store: Store, *args: Any) -> None:
        super().__init__(*args)
        self._store = store

    @contextmanager
    def _stand_in(self, under_way: _Pass) -> Iterator[None]:
        with super()._stand_in(under_way):
            rows = [row for member in self._members for row in member.rows]
            starts = [m.start_layer(self._path) for m in self._members for _ in m.rows]
            kept = [self._store.get(r, s) if s else None for r, s in zip(rows, starts, strict=True)]
            self._store.wanted += sum(s > 0 for s in starts)
            self._store.found += sum(k is not None for k in kept)
            for i, layer in enumerate(self._layers):
                if max(starts) > i:
                    layer.__dict__["forward"] = partial(self._through, i, layer, rows, starts, kept)
            yield

    def _through(
        self,
        index: int,
        layer: nn.Module,
        rows: Sequence[Encoded],
        starts: Sequence[int],
        kept: Sequence[Tensor | None],
        hidden: Tensor,
        *args: Any,
        **options: Any,
    ) -> Tensor:
        forward: Any = type(layer).forward
        live = sum(s <= index for s in starts)  # the first ones: members are in this order

        def run(part: Any) -> Tensor:
            cut = [_cut(a, len(rows), part) for a in args]
            named = {name: _cut(value, len(rows), part) for name, value in options.items()}
            out: Tensor = forward(layer, hidden[part], *cut, **named)
            return out

        missing = [r for r in range(live, len(rows)) if kept[r] is None]
        self._store.run += live + len(missing)
        self._store.skipped += len(rows) - live - len(missing)
        with torch.no_grad():
            lower = hidden[live:].clone()
            if missing:
                lower[[r - live for r in missing]] = run(missing)
            for r in range(live, len(rows)):
                if starts[r] != index + 1:
                    continue
                states, n = kept[r], len(rows[r].ids)
                if states is None:
                    self._store.put(rows[r], starts[r], lower[r - live, :n])
                else:
                    lower[r - live, :n] = states
                    lower[r - live, n:] = 0.0
        return torch.cat([run(slice(0, live)), lower]) if live else lower


def _top_half(name: str) -> tuple[LanguageModel, MixtureStream, Recipe, list[Configuration], int]:
    """Few rows, as many steps a round as they take once."""
    facts = resolve(name)
    model = LanguageModel(facts.path, torch.device("cpu"))
    pocket = name == "pocket"
    rows = (
        PocketWord2(TaskSetup(facts, None)).spec.domains[0].rows[:64]
        if pocket
        else [Row("the old green hill " * 40 + f"row {i}", " seven rivers") for i in range(4)]
    )
    size, length = (4, 64) if pocket else (1, 128)
    configs = [
        Configuration(
            {
                "mixture": Mixture({"few": 1.0}),
                "learning_rate": 1e-4,
                "r": 4 << i % 3,
                "num_layers": facts.n_layers // 2,
                "placement": "last",
            }
        )
        for i in range(TRIALS)
    ]
    stream = MixtureStream(model, [Domain("few", rows)], size, length, stratified=True)
    recipe = Recipe(Fidelity((1000,)), size, length, 0, "constant")
    return model, stream, recipe, configs, len(rows) // size


def _sampled(name: str) -> tuple[LanguageModel, MixtureStream, Recipe, list[Configuration], int]:
    """The pocket task's own rows, space and recipe, a fifth of the horizon a round."""
    facts = resolve(name)
    spec = PocketWord2(TaskSetup(facts, None)).spec
    model = LanguageModel(facts.path, torch.device("cpu"))
    recipe = spec.recipe
    stream = MixtureStream(model, spec.domains, recipe.batch_size, recipe.max_length, True)
    rng = np.random.default_rng(0)
    configs = [spec.search.sample(rng) for _ in range(TRIALS)]
    return model, stream, recipe, configs, recipe.fidelity.horizon // 5


CASES = {
    "top half, pocket": (_top_half, "pocket", 2),
    f"top half, {SMOLLM2}": (_top_half, SMOLLM2, 2),
    "sampled, pocket": (_sampled, "pocket", 4),
}
"""What is run, on which model, rounds after the first."""


def _repeats(
    stream: MixtureStream, configs: Sequence[Configuration], steps: int
) -> tuple[float, float]:
    """Return the shares of drawn rows that their trial, and that any trial, has drawn before."""
    drawn = [
        [id(row) for rows in stream.draw(c.mixture(), i, 0, steps) for row in rows]
        for i, c in enumerate(configs)
    ]
    n = sum(map(len, drawn))
    within = 1 - sum(len(set(d)) for d in drawn) / n
    return within, 1 - len(set().union(*drawn)) / n


@pytest.mark.filterwarnings("ignore")
@pytest.mark.benchmark(group="frozen prefix")
@pytest.mark.parametrize("case", CASES)
def test_kept_activations(race: Race, benchmark: BenchmarkFixture, case: str) -> None:
    make, name, rounds = CASES[case]
    try:
        model, stream, recipe, configs, steps = make(name)
    except MissingError as err:
        pytest.skip(str(err))
    store = Store(1 << 14)
    packs = [
        KeepingTrainer(store, model, stream, recipe),
        PackedTrainer(model, stream, recipe),
        PackedTrainer(model, stream, recipe),
    ]
    members: list[list[Member]] = []
    for pack in packs:
        members.append([Member(low_rank(model, c, i), i, recipe) for i, c in enumerate(configs)])
        for member in members[-1]:
            pack.join(member)
    seconds = [0.0, 0.0]
    begin = [m.adapter.state() for m in members[0]]

    def run(which: int) -> None:
        began = time.perf_counter()
        for member in members[which]:
            member.head_for(stream, member.step + steps)
        for _ in range(steps):
            assert not packs[which].step()
        seconds[which] += time.perf_counter() - began

    for member in members.pop():  # the first pass of a process is slow
        member.head_for(stream, 1)
    packs[2].step()
    race(
        lambda: run(0),
        lambda: run(1),
        f"8 trials, {case}, B={recipe.batch_size}, {steps} steps a round, activations at the "
        "lowest adapted layer kept against the pack as it is",
        rounds=rounds,
    )
    for mine, theirs, before in zip(*members, begin, strict=True):
        got, wanted = mine.adapter.state(), theirs.adapter.state()
        assert mine.step == theirs.step
        moved = sum(float((wanted[n] - before[n]).square().sum()) for n in wanted) ** 0.5
        apart = sum(float((wanted[n] - got[n]).square().sum()) for n in wanted) ** 0.5
        assert apart < 0.02 * moved, f"{apart} apart after having moved by {moved}"
    within, across = _repeats(stream, configs, members[0][0].step)
    visits = members[0][0].step * TRIALS * recipe.batch_size * len(model.layers()[1])
    benchmark.extra_info |= {
        "ratio_whole": seconds[1] / seconds[0],
        "repeats_within_trial": within,
        "repeats_within_pack": across,
        "found_share": store.found / store.wanted,
        "layers_skipped": store.skipped / visits,
        "kept_mib": store.n_bytes / 2**20,
    }
