from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from jobs_bench.budget import Charge
from jobs_bench.evaluator.attempt import Attempt
from jobs_bench.evaluator.finetune import FineTuneEvaluator
from jobs_bench.evaluator.online import ASIDE, Ground, Online
from jobs_bench.space.configuration import AxisValue, Configuration, Mixture
from jobs_bench.space.space import Space
from jobs_bench.strategy.controller import Memory, Signals
from jobs_bench.task.contract import ModelFacts, Reweights
from jobs_bench.task.cost import eval_flop, train_flop
from jobs_bench.task.finetune import FineTune, Row, right_answer
from jobs_bench.train.adapter import trainable
from jobs_bench.train.batches import MixtureStream, collate, encode_row
from jobs_bench.train.checkpoint import Checkpoints
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.trainer import Trainer
from jobs_bench.trial import Outcome, Segment
from jobs_bench_strategies.online.doge import DogeController
from jobs_bench_strategies.online.doremi import DoReMiController

CONTROLLERS = [
    "odm?rounds=5",
    "skill_it?rounds=5&short=0.2",
    "aioli?rounds=2&sweeps=1",
    "doremi?rounds=5",
    "doge?rounds=5",
]
"""Rounds end between the steps at which trials can stand, too: of odm at 2, 5, 7 and 10."""


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> LanguageModel:
    return LanguageModel(tiny_folder, torch.device("cpu"))


@pytest.fixture(scope="module")
def stream(model: LanguageModel, tiny_spec: FineTune) -> MixtureStream:
    return MixtureStream(model, tiny_spec.domains, 4, 32, stratified=True)


class Maker:
    def __init__(self, spec: FineTune, facts: ModelFacts, model: LanguageModel, root: Path) -> None:
        self.stream = MixtureStream(model, spec.domains, 4, 32, stratified=True)
        self.spec = spec
        self.facts = facts
        self.model = model
        self.root = root

    def __call__(self, name: str = "a", pack: int | None = 1) -> FineTuneEvaluator:
        made = FineTuneEvaluator(self.spec, self.facts, self.root / name, torch.device("cpu"), pack)
        made.adopt(self.model)
        return made

    def ground(self) -> Ground:
        """Return what segments run on, without held-out losses."""
        recipe = self.spec.recipe
        nothing: dict[str, float] = {}
        return Ground(
            self.model, self.facts, self.stream, recipe, lambda: (nothing, 0), self.spec.visible
        )

    def final(self, name: str, trial_id: int) -> dict[str, torch.Tensor]:
        """Return all tensors of a trial's last checkpoint."""
        state = Checkpoints(self.root / name).load(trial_id, 12)
        online = {f"online.{n}": t for n, t in state.online.items()}
        return {**state.params, **state.moments, **online}


@pytest.fixture
def make(
    tiny_spec: FineTune, tiny_facts: ModelFacts, model: LanguageModel, tmp_path: Path
) -> Maker:
    smooth = dataclasses.replace(
        tiny_spec,
        visible=tuple(q for q in tiny_spec.visible if q.id.startswith("q"))[:8],
        metric="gold_bpb",
        higher_is_better=False,
    )
    smooth = dataclasses.replace(smooth, hidden=smooth.visible[:6])
    return Maker(smooth, tiny_facts, model, tmp_path)


def _config(space: Space, **values: AxisValue) -> Configuration:
    return space.build({"method": "lora", "lora_dropout": 0.1, **values})


def _one(evaluator: FineTuneEvaluator, segment: Segment) -> Outcome:
    (outcome,) = evaluator.run([segment])
    assert outcome.segment == segment
    assert outcome.status == "ok", outcome.error
    return outcome


def _charge(outcome: Outcome, category: str) -> Charge:
    none = Charge("proxy", 0, 0.0)
    return next((c for c in outcome.charges if c.category == category), none)


def test_the_same_shares_give_the_same_rows(stream: MixtureStream) -> None:
    shares = [0.5, 0.3, 0.2]
    mixture = Mixture(dict(zip(stream.names, shares, strict=True)))
    drawn, found = [0, 0, 0], []
    for start, until in ((0, 3), (3, 4), (4, 12)):
        rows, owners = stream.draw_on(shares, 7, start, until, drawn)
        found += rows
        for d in (d for step in owners for d in step):
            drawn[d] += 1
    assert found == stream.draw(mixture, 7, 0, 12)
    assert sum(drawn) == 48


def test_rows_come_once_before_any_comes_twice(stream: MixtureStream) -> None:
    seen: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(3)]
    drawn = [0, 0, 0]
    for start, shares in ((0, [0.2, 0.2, 0.6]), (4, [0.1, 0.8, 0.1]), (8, [0.4, 0.4, 0.2])):
        rows, owners = stream.draw_on(shares, 7, start, start + 4, drawn)
        for of_step, mine in zip(rows, owners, strict=True):
            for row, d in zip(of_step, mine, strict=True):
                seen[d][row.ids] += 1
                drawn[d] += 1
    for d in range(3):
        has = Counter(row.ids for row in stream.of_domain(d, 7, 0, drawn[d]))
        assert seen[d] == has, "each domain goes down its own permutation"


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_segments_through_checkpoints_equal_the_whole(
    make: Maker, tiny_space: Space, controller: str
) -> None:
    config = _config(tiny_space)
    whole = _one(make(), Segment(0, config, 0, 12, 5, controller=controller))
    cuts = ((0, 4), (4, 8), (8, 12))
    parts = [_one(make(), Segment(1, config, a, b, 5, controller=controller)) for a, b in cuts]
    assert [p for part in parts for p in part.points] == list(whole.points)
    left, right = make.final("a", 0), make.final("a", 1)
    assert left.keys() == right.keys()
    assert any(n.startswith("online.memory.") for n in left)
    for name in left:
        assert torch.equal(left[name], right[name]), name
    for category in ("train", "eval", "proxy"):
        several = [_charge(part, category) for part in parts]
        assert sum(c.tok for c in several) == _charge(whole, category).tok
        flop = sum(c.flop for c in several)
        assert flop == pytest.approx(_charge(whole, category).flop), category
    plain = _one(make(), Segment(2, config, 0, 12, 5))
    assert plain.points != whole.points, "the controller changes the run"


def test_odm_draws_by_the_shares_that_it_states(make: Maker, tiny_space: Space) -> None:
    config = _config(tiny_space)
    whole = _one(make(), Segment(0, config, 0, 12, 5, controller="odm?rounds=3"))
    state = Checkpoints(make.root / "a").load(0, 12).online
    shares, drawn = state["sum.shares"], state["sum.drawn"]
    assert float(shares.sum()) == pytest.approx(1)
    assert len(set(shares.tolist())) == 3, "losses differ, so do shares"
    assert float(drawn.sum()) == 48
    assert float(state["sum.rows"].sum()) == 16, "the last round has four steps"
    assert float(state["memory.step"]) == 8
    courses = [list(point.shares.values()) for point in whole.points]
    assert courses[-1] == shares.tolist(), "a point tells what led to it"
    assert courses[0] == pytest.approx([config.mixture()[d] for d in whole.points[0].shares])
    rows = state["sum.rows"].numpy() - 16 * shares.numpy()
    assert np.abs(rows).max() <= 3
    train = _charge(whole, "train")
    assert train.flop == pytest.approx(train_flop(make.facts, config, train.tok, 12))
    plain = _one(make(), Segment(1, config, 0, 12, 5))
    assert not any(point.shares for point in plain.points)
    assert {c.category for c in whole.charges} == {"train", "eval"}, "odm has nothing measured"
    assert _charge(whole, "eval").tok == _charge(plain, "eval").tok


def test_a_controlled_segment_keeps_out_of_packs(make: Maker, tiny_space: Space) -> None:
    configs = [_config(tiny_space, r=r, lora_dropout=0.0) for r in (1, 4, 8)]
    segments = [Segment(i, c, 0, 4, i) for i, c in enumerate(configs)]
    segments[1] = dataclasses.replace(segments[1], controller="odm?rounds=6")
    packed = make("b", pack=3).run(segments)
    assert [o.status for o in packed] == ["ok"] * 3
    assert packed[1].points == _one(make(), segments[1]).points


def test_oracle_and_export_are_controlled(make: Maker, tiny_space: Space, tmp_path: Path) -> None:
    config, spec = _config(tiny_space), "odm?rounds=6"
    evaluator = make()
    assert isinstance(evaluator, Reweights)
    (oracle,) = evaluator.controlled_oracle(config, spec, [3])
    assert oracle.points != evaluator.oracle(config, [3])[0].points
    exported = evaluator.export(config, 3, tmp_path / "out", spec)
    assert exported.points == oracle.points
    run = _one(evaluator, Segment(0, config, 0, 12, 3, controller=spec))
    seen, hidden = run.points[-1].metrics, oracle.points[-1].metrics
    assert seen != hidden, "other questions"


def test_a_controller_that_is_not_there_is_an_outcome(make: Maker, tiny_space: Space) -> None:
    config = _config(tiny_space)
    (outcome,) = make().run([Segment(0, config, 0, 4, 5, controller="odn")])
    assert outcome.status == "crashed"
    assert "odn" in outcome.error
    assert sum(c.tok for c in outcome.charges) == 0


def test_a_checkpoint_without_a_controller_is_refused(make: Maker, tiny_space: Space) -> None:
    config = _config(tiny_space)
    _one(make(), Segment(0, config, 0, 4, 5))
    (outcome,) = make().run([Segment(0, config, 4, 8, 5, controller="odm")])
    assert outcome.status == "crashed"
    assert "wanted one made under odm" in outcome.error


def _held_out_tokens(make: Maker) -> int:
    """Return the tokens of one measurement of all held-out losses."""
    rows = [row for d in make.spec.domains for row in d.held_out]
    # the end token is predicted and goes through nothing
    found = [make.model.encode_pair(row.prompt, row.answer) for row in rows]
    return sum(len(prompt) + len(answer) for prompt, answer in found)


@pytest.mark.parametrize("short", [0.25, 0.5])
def test_skill_it_pays_for_its_graph(make: Maker, tiny_space: Space, short: float) -> None:
    config, steps = _config(tiny_space), round(12 * short)
    spec = f"skill_it?rounds=3&short={short}"
    whole = _one(make(), Segment(0, config, 0, 12, 5, controller=spec))
    plain = _one(make(), Segment(1, config, 0, 12, 5))
    proxy = _charge(whole, "proxy")
    alone = [
        make.stream.draw(Mixture({n: float(n == d) for n in make.stream.names}), 5, 0, steps)
        for d in make.stream.names
    ]
    tokens = sum(len(row.ids) for run in alone for step in run for row in step)
    assert proxy.tok == tokens, "a short run on each domain"
    assert proxy.flop == pytest.approx(train_flop(make.facts, config, tokens))
    # one before, one after each run, one at the ends 4 and 8
    more = _charge(whole, "eval").tok - _charge(plain, "eval").tok
    assert more == 6 * _held_out_tokens(make)
    state = Checkpoints(make.root / "a").load(0, 12).online
    graph = state["memory.graph"]
    assert graph.shape == (3, 3)
    assert bool((graph >= 0).all())
    assert float(graph.max()) > 0


def test_aioli_bursts_are_hot(make: Maker, tiny_space: Space) -> None:
    config = _config(tiny_space)
    spec = "aioli?rounds=1&sweeps=1&heat=1.0&explore=0.9"
    segments = [Segment(0, config, 0, 4, 5, controller=spec)]
    (first,) = make().run(segments)
    assert first.status == "ok", first.error
    # 12 steps, 3 bursts of 3 steps: at 4 one domain has had 12 rows and the next one 4
    state = Checkpoints(make.root / "a").load(0, 4).online
    assert sorted(state["sum.drawn"].tolist()) == [0, 4, 12]
    assert state["sum.rows"].tolist() == [n if n == 4 else 0 for n in state["sum.drawn"].tolist()]
    assert "proxy" not in {c.category for c in first.charges}


def test_doremi_trains_its_reference_first(make: Maker, tiny_space: Space) -> None:
    config = _config(tiny_space)
    whole = _one(make(), Segment(0, config, 0, 12, 5, controller="doremi?rounds=3"))
    plain = _one(make(), Segment(1, config, 0, 12, 5))
    state = Checkpoints(make.root / "a").load(0, 12)
    reference = Checkpoints(make.root / "a").load(1, 12).params
    for name, value in reference.items():
        assert torch.equal(state.online[f"reference.{name}"], value), "a full run of the recipe"
        assert not torch.equal(state.params[name], value), name
    # it went through the reference's run, and its own rows went through the reference
    proxy, train = _charge(whole, "proxy"), _charge(plain, "train")
    own = _charge(whole, "train")
    assert proxy.tok == train.tok + own.tok
    wanted = train.flop + eval_flop(make.facts, config, own.tok)
    assert proxy.flop == pytest.approx(wanted)
    assert bool((state.online["memory.excess"] > 0).all()), "the reference is ahead"
    assert _charge(whole, "eval").tok == _charge(plain, "eval").tok


def test_the_first_rounds_excess_is_over_the_reference(make: Maker, tiny_space: Space) -> None:
    """Measured by hand: both models on the rows of step 1, without dropout."""
    config = _config(tiny_space, lora_dropout=0.0)
    spec = "doremi?rounds=12"  # a round is a step
    segment = Segment(0, config, 0, 4, 5, controller=spec)
    _one(make(), segment)
    _one(make(), Segment(1, config, 0, 12, 5))
    reference = Checkpoints(make.root / "a").load(1, 12).params
    rows = make.stream.draw(config.mixture(), 5, 0, 1)[0]
    batch = collate(make.model, rows)
    losses = []
    with trainable(make.model, config, 5) as adapted, torch.no_grad():
        for weights in (adapted.state(), reference):
            adapted.load(weights)
            logits = make.model.logits_at(batch.input_ids, batch.predicts)
            losses.append(cross_entropy(logits, batch.labels, reduction="none").double())
    over = (losses[0] - losses[1]).clamp_min(0)
    _, (owners,) = make.stream.draw_on([1 / 3] * 3, 5, 0, 1, [0, 0, 0])
    owner = torch.tensor(owners).repeat_interleave(batch.predicts.sum(1))
    wanted = torch.stack([over[owner == d].mean() for d in range(3)]).nan_to_num(0.0)

    noted: list[Signals] = []

    class Noting(DoReMiController):
        def update(self, memory: Memory, signals: Signals) -> tuple[Memory, np.ndarray]:
            noted.append(signals)
            return super().update(memory, signals)

    online = Online(segment, make.ground(), Attempt(segment, make.facts), Noting(rounds=12))
    with trainable(make.model, config, 5) as adapted:
        online.begin(adapted)
        trainer = Trainer(adapted, make.stream, make.spec.recipe, 5)
        for progress in trainer.run([1], online):
            online.end_round(adapted, progress.step)
    assert noted[0].excess is not None
    np.testing.assert_allclose(np.nan_to_num(noted[0].excess), wanted.numpy(), rtol=1e-5)
    assert noted[0].rows.tolist() == np.bincount(owners, minlength=3).tolist()


def test_alignments_are_slopes_of_the_targets_loss(make: Maker, tiny_space: Space) -> None:
    """A small step down a domain's gradient lowers the target's loss by the inner product."""
    config = _config(tiny_space)
    segment = Segment(0, config, 0, 12, 5, controller="doge?rounds=3")
    noted: list[Signals] = []

    class Noting(DogeController):
        def update(self, memory: Memory, signals: Signals) -> tuple[Memory, np.ndarray]:
            noted.append(signals)
            return super().update(memory, signals)

    attempt = Attempt(segment, make.facts)
    online = Online(segment, make.ground(), attempt, Noting(rounds=3))
    size, model = make.spec.recipe.batch_size, make.model
    targets = [Row(q.context, right_answer(q)) for q in make.spec.visible[:size]]
    target = collate(model, [encode_row(model, row, 32) for row in targets])
    with trainable(model, config, 5) as adapted:
        online.begin(adapted)
        params = list(adapted.params.values())
        before = adapted.state()
        for d in range(3):
            adapted.load(before)
            own = collate(model, make.stream.of_domain(d, 5 + ASIDE, 0, size))
            logits = model.logits_at(own.input_ids, own.predicts)
            grads = torch.autograd.grad(cross_entropy(logits, own.labels), params)
            norm = math.sqrt(sum(float((g.double() ** 2).sum()) for g in grads))
            assert noted[0].norms is not None
            assert noted[0].norms[d] == pytest.approx(norm, rel=1e-4)
            losses = []
            for sign in (1, -1):
                adapted.load(before)
                with torch.no_grad():
                    for p, g in zip(params, grads, strict=True):
                        p.add_(g, alpha=sign * 5e-3 / norm)
                    logits = model.logits_at(target.input_ids, target.predicts)
                losses.append(float(cross_entropy(logits.double(), target.labels)))
            slope = (losses[0] - losses[1]) / 1e-2 * norm
            assert noted[0].alignments is not None
            assert noted[0].alignments[d] == pytest.approx(slope, rel=1e-2, abs=1e-3)
    assert noted[0].alignments is not None
    assert len({round(a, 6) for a in noted[0].alignments.tolist()}) == 3
    (proxy,) = [c for c in attempt.outcome(0.0, 0.0).charges if c.category == "proxy"]
    rows = [r for d in range(3) for r in make.stream.of_domain(d, 5 + ASIDE, 0, size)]
    tokens = target.tokens + sum(len(r.ids) for r in rows)
    assert proxy.tok == tokens
    assert proxy.flop == pytest.approx(train_flop(make.facts, config, tokens, 4))


@pytest.mark.parametrize("spec", ["aioli?rounds=1&sweeps=1", "skill_it?rounds=2&short=0.1"])
def test_nothing_drops_out_while_losses_are_measured(
    make: Maker, tiny_space: Space, spec: str
) -> None:
    config = _config(tiny_space, method="dora")
    segment = Segment(0, config, 0, 12, 5, controller=spec)
    training: list[bool] = []

    def held_out() -> tuple[dict[str, float], int]:
        training.append(any(m.training for m in make.model.hf.modules()))
        return dict.fromkeys(make.stream.names, 1.0), 10

    attempt = Attempt(segment, make.facts)
    online = Online(segment, dataclasses.replace(make.ground(), held_out=held_out), attempt)
    with trainable(make.model, config, 5) as adapted:
        assert any(m.training for m in make.model.hf.modules()), "a fresh adapter drops out"
        online.begin(adapted)
    assert training
    assert not any(training)


def test_a_domain_without_held_out_rows_is_named(make: Maker, tiny_space: Space) -> None:
    domains = make.spec.domains
    make.spec = dataclasses.replace(
        make.spec, domains=(*domains[:2], dataclasses.replace(domains[2], held_out=()))
    )
    segment = Segment(0, _config(tiny_space), 0, 4, 5, controller="skill_it")
    (outcome,) = make().run([segment])
    assert outcome.status == "crashed"
    assert "there are none of sort" in outcome.error


def test_a_proxy_run_that_diverges_is_told_and_charged(make: Maker, tiny_space: Space) -> None:
    absurd = _config(tiny_space, method="full").with_({"learning_rate": 1e18})
    (outcome,) = make().run([Segment(0, absurd, 0, 12, 5, controller="doremi")])
    assert outcome.status == "diverged"
    assert "a proxy run" in outcome.error
    assert _charge(outcome, "proxy").tok > 0
    assert _charge(outcome, "train").tok == 0
