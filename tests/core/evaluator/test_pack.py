"""A packed evaluator gives the outcomes of one that runs segments one after the other."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from jobs_bench.errors import StorageError
from jobs_bench.evaluator.finetune import FineTuneEvaluator
from jobs_bench.evaluator.memory import SavedBytes, free_bytes, pack_size
from jobs_bench.space.configuration import AxisValue, Configuration, Mixture
from jobs_bench.space.space import Space
from jobs_bench.task.contract import ModelFacts
from jobs_bench.task.finetune import FineTune
from jobs_bench.train.checkpoint import Checkpoints
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.packed import Member, PackedTrainer
from jobs_bench.trial import Outcome, Segment

CPU = torch.device("cpu")
MIXED: list[dict[str, AxisValue]] = [
    {"r": 4, "lora_dropout": 0.2},
    {"r": 1, "target_modules": ("mlp",), "learning_rate": 3e-2},
    {"r": 4, "num_layers": 1, "placement": "first"},
    {"method": "dora"},
    {"r": 8, "num_layers": 1, "scaling": 4.0, "lora_dropout": 0.1},
    {"r": 4, "target_modules": ("attention",), "method": "rslora"},
    {"method": "ia3"},
    {"r": 2, "num_layers": 2, "lora_dropout": 0.05},
]


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> LanguageModel:
    """Float64: what differs then differs by more than the order of sums."""
    made = LanguageModel(tiny_folder, CPU)
    made.hf.double()
    return made


class Maker:
    """Makes evaluators with a folder, a number of seats and a limit of rows."""

    def __init__(self, spec: FineTune, facts: ModelFacts, model: LanguageModel, root: Path) -> None:
        self.spec = spec
        self.facts = facts
        self.model = model
        self.root = root

    def __call__(
        self, name: str, pack: int | None, max_rows: int | None = None
    ) -> FineTuneEvaluator:
        folder = self.root / name
        made = FineTuneEvaluator(self.spec, self.facts, folder, CPU, pack, max_rows)
        made.adopt(self.model)
        return made


@pytest.fixture
def make(
    tiny_spec: FineTune, tiny_facts: ModelFacts, model: LanguageModel, tmp_path: Path
) -> Maker:
    exact = tuple(q for q in tiny_spec.visible if q.id.startswith("q"))[:8]
    smooth = dataclasses.replace(
        tiny_spec, visible=exact, hidden=exact[:4], metric="gold_bpb", higher_is_better=False
    )
    return Maker(smooth, tiny_facts, model, tmp_path)


@pytest.fixture(autouse=True)
def _the_base_model_stays(model: LanguageModel) -> Iterator[None]:
    """Whatever happens to a pack, the base model is the same after it, to the bit."""
    before = {n: p.clone() for n, p in model.hf.named_parameters()}
    yield
    after = dict(model.hf.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert not any(p.requires_grad for p in after.values())
    assert not any("forward" in m.__dict__ for m in model.hf.modules())


@pytest.fixture
def configs(tiny_space: Space) -> list[Configuration]:
    weights = [(0.6, 0.3, 0.1), (0.2, 0.2, 0.6), (0.1, 0.8, 0.1)]
    made = []
    for i, values in enumerate(MIXED):
        mixture = Mixture(dict(zip(("copy", "back", "sort"), weights[i % 3], strict=True)))
        made.append(tiny_space.build({"method": "lora", **values, "mixture": mixture}))
    return made


@pytest.fixture
def plain(configs: Sequence[Configuration]) -> list[Configuration]:
    return [c for c in configs if c["method"] in ("lora", "rslora")]


def _same(got: Sequence[Outcome], wanted: Sequence[Outcome]) -> None:
    assert [o.segment for o in got] == [o.segment for o in wanted]
    for mine, theirs in zip(got, wanted, strict=True):
        assert mine.status == theirs.status, mine.error
        assert mine.error == theirs.error
        assert [(c.category, c.tok, c.flop) for c in mine.charges] == [
            (c.category, c.tok, c.flop) for c in theirs.charges
        ]
        assert [p.step for p in mine.points] == [p.step for p in theirs.points]
        for point, other in zip(mine.points, theirs.points, strict=True):
            assert point.score.mean == pytest.approx(other.score.mean, rel=1e-7)
            assert point.score.se == pytest.approx(other.score.se, rel=1e-6)
            assert point.domain_losses == pytest.approx(other.domain_losses, rel=1e-7)


def _same_states(make: Maker, one: str, other: str, trial: int, step: int) -> None:
    got, wanted = (Checkpoints(make.root / n).load(trial, step) for n in (one, other))
    assert got.config_key == wanted.config_key
    for mine, theirs in ((got.params, wanted.params), (got.moments, wanted.moments)):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            torch.testing.assert_close(mine[name], value, rtol=1e-7, atol=1e-10, msg=name)


def _watch(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of members of every step."""
    sizes: list[int] = []
    step = PackedTrainer.step

    def noted(self: PackedTrainer) -> Any:
        sizes.append(len(self.members))
        return step(self)

    monkeypatch.setattr(PackedTrainer, "step", noted)
    return sizes


def test_packed_outcomes_are_those_one_after_the_other(
    make: Maker, configs: Sequence[Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mixed methods, ranks, modules, layers, lengths; then resumed and forked, packed on packed."""
    sizes = _watch(monkeypatch)
    first = [Segment(i, c, 0, (4, 8)[i % 2], i) for i, c in enumerate(configs)]
    packed, apart = make("packed", 4), make("apart", 1)
    got = packed.run(first)
    assert max(sizes) == 4
    assert sum(sizes) == sum(s.until for s in first if s.config["method"] in ("lora", "rslora"))
    seen = len(sizes)
    wanted = apart.run(first)
    assert len(sizes) == seen, "one after the other, no pass is shared"
    _same(got, wanted)
    assert all(o.status == "ok" for o in got)
    for segment in first:
        _same_states(make, "packed", "apart", segment.trial_id, segment.until)
    slower = configs[0].with_({"learning_rate": 1e-3})
    second = [Segment(s.trial_id, s.config, s.until, 12, s.seed) for s in first[::-1]]
    second.insert(2, Segment(20, slower, 4, 12, 77, parent=0))
    second.append(Segment(21, configs[1].with_({"r": 2}), 8, 12, 78, parent=1))
    got, wanted = packed.run(second), apart.run(second)
    _same(got, wanted)
    assert [o.status for o in got] == ["ok"] * (len(second) - 1) + ["crashed"]
    assert "does not fit" in got[-1].error
    _same_states(make, "packed", "apart", 20, 12)


def test_checkpoints_pass_between_packed_and_unpacked(
    make: Maker, plain: Sequence[Configuration]
) -> None:
    whole = make("whole", 1).run([Segment(i, c, 0, 12, i) for i, c in enumerate(plain)])
    curves: list[list[Any]] = [[] for _ in plain]
    for start, until, pack in ((0, 4, 3), (4, 8, 1), (8, 12, None)):
        parts = make("parts", pack).run(
            [Segment(i, c, start, until, i) for i, c in enumerate(plain)]
        )
        for curve, part in zip(curves, parts, strict=True):
            curve.extend(part.points)
    for curve, outcome in zip(curves, whole, strict=True):
        assert [p.step for p in curve] == [4, 8, 12]
        for point, wanted in zip(curve, outcome.points, strict=True):
            assert point.score.mean == pytest.approx(wanted.score.mean, rel=1e-7)


def test_a_free_seat_is_taken_at_the_next_step(
    make: Maker, plain: Sequence[Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = _watch(monkeypatch)
    untils = [12, 4, 4, 8, 4, 4]
    make("a", 3).run([Segment(i, c, 0, untils[i], i) for i, c in enumerate(plain)])
    assert sizes == [3] * 12, "36 steps, three at a time, no seat ever empty"


def test_the_order_of_segments_does_not_matter(make: Maker, plain: Sequence[Configuration]) -> None:
    segments = [Segment(i, c, 0, (8, 4)[i % 2], i) for i, c in enumerate(plain)]
    there = make("a", 4).run(segments)
    back = make("b", 4).run(segments[::-1])[::-1]
    _same(there, back)
    _same(make("c", 2).run(segments), there)


def test_what_needs_an_earlier_segment_of_the_batch_waits_for_it(
    make: Maker, plain: Sequence[Configuration]
) -> None:
    a, b = plain[0], plain[1]
    batch = [
        Segment(0, a, 0, 4, 5),
        Segment(1, a.with_({"learning_rate": 1e-3}), 4, 8, 6, parent=0),
        Segment(0, a, 4, 8, 5),
        Segment(2, b, 0, 12, 7),
        Segment(0, a, 8, 12, 5),
    ]
    got, wanted = make("a", 8).run(batch), make("b", 1).run(batch)
    assert [o.status for o in got] == ["ok"] * 5
    _same(got, wanted)


def test_a_diverging_trial_leaves_and_harms_nobody(
    make: Maker, plain: Sequence[Configuration]
) -> None:
    segments = [Segment(i, c, 0, 8, i) for i, c in enumerate(plain)]
    segments[1] = Segment(1, plain[1].with_({"learning_rate": 1e18}), 0, 8, 1)
    got, wanted = make("a", 6).run(segments), make("b", 1).run(segments)
    assert [o.status for o in got] == ["ok", "diverged", "ok", "ok", "ok", "ok"]
    assert "not finite" in got[1].error
    _same(got, wanted)


@pytest.mark.parametrize(("pack", "rows", "sizes"), [(6, 12, [6, 3]), (4, 4, [4, 2, 1])])
def test_without_room_fewer_go_on_and_nothing_is_lost(
    make: Maker,
    plain: Sequence[Configuration],
    monkeypatch: pytest.MonkeyPatch,
    pack: int,
    rows: int,
    sizes: list[int],
) -> None:
    tried = _watch(monkeypatch)
    segments = [Segment(i, c, 0, 4, i) for i, c in enumerate(plain)]
    got = make("a", pack, rows).run(segments)
    assert tried[: len(sizes)] == sizes
    assert set(tried[len(sizes) :]) == {rows // 4}
    _same(got, make("b", 1).run(segments))


def test_memory_that_runs_out_in_the_middle(
    make: Maker, plain: Sequence[Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that step back have gone some way; they go on from there."""
    sizes = _watch(monkeypatch)
    calls = 0
    plainly = PackedTrainer._differentiate

    def runs_out(self: PackedTrainer, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        found = plainly(self, *args)
        if calls == 3 or calls == 6:
            raise (torch.OutOfMemoryError, RuntimeError)[calls // 6]("not enough memory: you tried")
        return found

    monkeypatch.setattr(PackedTrainer, "_differentiate", runs_out)
    segments = [Segment(i, c, 0, 8, i) for i, c in enumerate(plain)]
    got = make("a", 5).run(segments)
    assert sizes[:7] == [5, 5, 5, 2, 2, 2, 1]
    _same(got, make("b", 1).run(segments))


def test_a_trial_that_never_fits_is_told_so(make: Maker, plain: Sequence[Configuration]) -> None:
    got = make("a", 4, max_rows=3).run([Segment(i, c, 0, 4, i) for i, c in enumerate(plain[:3])])
    for outcome in got:
        assert outcome.status == "oom"
        assert outcome.error == "no room for 4 rows in one pass, only for 3"
        assert [c.tok for c in outcome.charges] == [0, 0]


def test_memory_that_runs_out_while_scoring(
    make: Maker, plain: Sequence[Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 4
    point = FineTuneEvaluator._point

    def runs_out(self: FineTuneEvaluator, step: int, *args: Any, **options: Any) -> Any:
        nonlocal left
        if step == 4 and left:
            left -= 1
            raise MemoryError("no room")
        return point(self, step, *args, **options)

    monkeypatch.setattr(FineTuneEvaluator, "_point", runs_out)
    segments = [Segment(i, c, 0, 8, i) for i, c in enumerate(plain[:4])]
    got = make("a", 4).run(segments)
    statuses = sorted(o.status for o in got)
    assert statuses == ["ok", "ok", "oom", "oom"], "twice after halving, twice alone"
    wanted = make("b", 1).run(segments)
    fine = [i for i, o in enumerate(got) if o.status == "ok"]
    _same([got[i] for i in fine], [wanted[i] for i in fine])
    for outcome in got:
        if outcome.status == "oom":
            assert outcome.charges[0].tok > 0, "its four steps were paid"


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), MemoryError("no room")])
def test_who_fails_alone_is_at_fault(
    make: Maker,
    plain: Sequence[Configuration],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """In a pass of several it may be anybody: fewer try, until the one fails by itself."""
    sizes = _watch(monkeypatch)
    update = PackedTrainer._update

    def fails(self: PackedTrainer, member: Member, norm: float, step: int) -> None:
        if member.seed == 2 and step == 6:
            raise error
        update(self, member, norm, step)

    segments = [Segment(i, c, 0, 8, i) for i, c in enumerate(plain)]
    monkeypatch.setattr(PackedTrainer, "_update", fails)
    evaluator = make("a", 4)
    got = evaluator.run(segments)
    wanted = make("b", 1).run(segments)
    assert [o.status for o in got].count("ok") == 5
    assert got[2].status == ("oom" if isinstance(error, MemoryError) else "crashed")
    assert str(error) in got[2].error
    assert [p.step for p in got[2].points] == [4]
    stream = evaluator.stock.stream.batches(plain[2].mixture(), 2, 0, 5)
    assert got[2].charges[0].tok == sum(b.tokens for b in stream), "all five steps, no more"
    _same([o for i, o in enumerate(got) if i != 2], [o for i, o in enumerate(wanted) if i != 2])
    assert max(sizes[sizes.index(1) + 1 :]) > 1, "the others share passes again"


def test_a_trial_that_cannot_begin_is_told(make: Maker, plain: Sequence[Configuration]) -> None:
    segments = [Segment(i, c, 4 * (i == 1), 8, i) for i, c in enumerate(plain[:3])]
    got, wanted = make("a", 3).run(segments), make("a", 1).run(segments)
    assert got[1].status == "crashed"
    assert "no checkpoint of trial 1 at step 4" in got[1].error
    _same(got, wanted)


def test_a_full_disk_is_no_trials_fault(
    make: Maker, plain: Sequence[Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    segments = [Segment(i, c, 0, 4, i) for i, c in enumerate(plain[:3])]
    evaluator = make("a", 3)
    with monkeypatch.context() as patch:
        patch.setattr("jobs_bench.train.checkpoint.save_file", full)
        with pytest.raises(StorageError, match="No space left"):
            evaluator.run(segments)
    _same(evaluator.run(segments), make("b", 1).run(segments))


def test_a_pack_charges_its_seconds_once(make: Maker, plain: Sequence[Configuration]) -> None:
    evaluator = make("a", 6)
    segments = [Segment(i, c, 0, 4, i) for i, c in enumerate(plain)]
    evaluator.run([Segment(9, plain[0], 0, 4, 9)])
    began = time.perf_counter()
    got = evaluator.run(segments)
    wall = time.perf_counter() - began
    seconds = [[c.s for c in o.charges] for o in got]
    assert all(s > 0 for pair in seconds for s in pair)
    total = sum(s for pair in seconds for s in pair)
    assert 0.5 * wall < total <= wall
    shares = [(o.charges[0].s, o.charges[0].tok) for o in got]
    assert max(s / t for s, t in shares) < 3 * min(s / t for s, t in shares), "by their tokens"


def test_the_oracle_packs_the_seeds_of_a_configuration(
    make: Maker, plain: Sequence[Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = _watch(monkeypatch)
    packed = make("a", 4)
    got, wanted = packed.oracle(plain[0], [7, 8, 9]), make("b", 1).oracle(plain[0], [7, 8, 9])
    assert sizes == [3] * 12
    _same(got, wanted)
    assert not list(make.root.rglob("*")), "the oracle writes no checkpoints"
    (base,) = packed.oracle(None, [0])
    assert base.status == "ok"


def test_a_model_that_cannot_be_packed_is_not(
    make: Maker, plain: Sequence[Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = _watch(monkeypatch)
    attention: Any = make.model.hf.get_submodule("model.layers.1.self_attn")
    attention.attention_dropout = 0.5
    segments = [Segment(i, c, 0, 4, i) for i, c in enumerate(plain[:2])]
    try:
        got, wanted = make("a", 4).run(segments), make("b", 1).run(segments)
    finally:
        attention.attention_dropout = 0.0
    assert sizes == []
    assert [o.points for o in got] == [o.points for o in wanted]


def test_a_measured_pack_gives_the_same_outcomes(
    make: Maker, plain: Sequence[Configuration], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = _watch(monkeypatch)
    segments = [Segment(i, c, 0, 8, i) for i, c in enumerate(plain)]
    got = make("a", None).run(segments)
    assert sizes[:2] == [1, 6], "after one step of one trial there is room for all"
    _same(got, make("b", 1).run(segments))


def test_the_size_follows_memory_and_on_a_cpu_tokens() -> None:
    free = free_bytes(CPU)
    assert 1 << 20 < free < 1 << 62
    assert pack_size(CPU, free, 1) == 1
    assert pack_size(CPU, free // 20, 1) == pytest.approx(10, abs=2)
    assert pack_size(CPU, 1, 1) == 64
    assert pack_size(CPU, 1, 256) == 4
    assert pack_size(CPU, 1, 1 << 20) == 1


def test_what_autograd_keeps_is_counted_once(model: LanguageModel) -> None:
    a = torch.ones(10, requires_grad=True)
    with SavedBytes(model) as saved:
        b = a * a
        (b * b).sum().backward()
    assert saved.total == 80, "a and b, 40 bytes each, however often they are kept"
    weight = next(model.hf.parameters())
    with SavedBytes(model) as saved:
        (weight[0] * torch.ones(weight.shape[1], dtype=weight.dtype, requires_grad=True)).sum()
    assert saved.total == 0, "the model's weights are there anyway"
