"""Merged trials of the shared evaluator: what they score, cost, and leave behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from jobs_bench.evaluator.finetune import FineTuneEvaluator
from jobs_bench.space.configuration import AxisValue, Configuration, Mixture
from jobs_bench.space.space import Space
from jobs_bench.task.contract import ModelFacts
from jobs_bench.task.cost import eval_flop
from jobs_bench.task.finetune import FineTune
from jobs_bench.train.checkpoint import Checkpoints
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.low_rank import low_rank
from jobs_bench.trial import Merge, Outcome, Point, Segment

DOMAINS = ("copy", "back", "sort")


class Maker:
    def __init__(self, spec: FineTune, facts: ModelFacts, model: LanguageModel, root: Path) -> None:
        self.spec = spec
        self.facts = facts
        self.model = model
        self.root = root

    def __call__(self, pack: int | None = 1) -> FineTuneEvaluator:
        cpu = torch.device("cpu")
        made = FineTuneEvaluator(self.spec, self.facts, self.root, cpu, pack)
        made.adopt(self.model)
        return made


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> LanguageModel:
    return LanguageModel(tiny_folder, torch.device("cpu"))


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
    return Maker(smooth, tiny_facts, model, tmp_path)


def _config(space: Space, *weights: float, **values: AxisValue) -> Configuration:
    mixture = Mixture(dict(zip(DOMAINS, weights, strict=True)))
    return space.build({"method": "lora", "mixture": mixture, **values})


def _corners(make: Maker, space: Space, **values: AxisValue) -> list[Outcome]:
    """Train trials 0, 1 and 2, each on one domain, to step 8."""
    configs = [_config(space, *(float(d == e) for e in DOMAINS), **values) for d in DOMAINS]
    found = make().run([Segment(i, c, 0, 8, 10 + i) for i, c in enumerate(configs)])
    assert [o.status for o in found] == ["ok"] * 3
    return found


def _merge(
    make: Maker, space: Space, merge: Merge, trial_id: int = 3, **values: AxisValue
) -> Outcome:
    shares = [dict(merge).get(i, 0.0) for i in range(3)]
    config = _config(space, *(s / sum(shares) for s in shares), **values)
    segment = Segment(trial_id, config, 8, 8, 99, merge=merge)
    (outcome,) = make().run([segment])
    assert outcome.segment == segment
    return outcome


def _numbers(point: Point) -> dict[str, float]:
    gold = {f"gold{i}": v for i, v in enumerate(point.items["gold_logprob"])}
    return {"score": point.score.mean, **point.domain_losses, **gold}


@pytest.mark.parametrize("method", ["lora", "rslora"])
def test_a_parent_alone_scores_as_it_did(make: Maker, tiny_space: Space, method: str) -> None:
    corners = _corners(make, tiny_space, method=method)
    outcome = _merge(make, tiny_space, ((1, 1.0),), method=method)
    assert outcome.status == "ok", outcome.error
    assert [p.step for p in outcome.points] == [8]
    own = corners[1].points[-1]
    assert _numbers(outcome.points[0]) == pytest.approx(_numbers(own), rel=1e-5)


def test_a_mix_scores_as_the_sum_of_updates(make: Maker, tiny_space: Space) -> None:
    corners = _corners(make, tiny_space)
    merge = ((0, 0.2), (1, 0.3), (2, 0.5))
    outcome = _merge(make, tiny_space, merge)
    # the same by hand: full-size updates of the checkpoints, added to the base weights
    updates: dict[str, torch.Tensor] = {}
    for i, c in merge:
        adapter = low_rank(make.model, corners[i].segment.config, 0)
        adapter.load(Checkpoints(make.root).load(i, 8).params)
        for place in adapter.places:
            update = adapter.params[place.up] @ adapter.params[place.down] * (c * place.scaling)
            updates[place.path] = updates.get(place.path, torch.zeros(())) + update
    before = {path: make.model.hf.get_submodule(path).weight.data for path in updates}
    try:
        for path, update in updates.items():
            make.model.hf.get_submodule(path).weight.data = before[path] + update
        visible = dataclasses.replace(make.spec, hidden=make.spec.visible)
        by_hand = Maker(visible, make.facts, make.model, make.root)().oracle(None, [0])
    finally:
        for path, weight in before.items():
            make.model.hf.get_submodule(path).weight.data = weight
    got, wanted = outcome.points[0], by_hand[0].points[0]
    assert got.score.mean == pytest.approx(wanted.score.mean, rel=1e-5)
    assert got.items["gold_logprob"] == pytest.approx(wanted.items["gold_logprob"], rel=1e-4)
    assert all(got.score.mean != o.points[-1].score.mean for o in corners)


def test_scoring_is_all_that_is_paid(make: Maker, tiny_space: Space) -> None:
    corners = _corners(make, tiny_space)
    outcome = _merge(make, tiny_space, ((0, 0.5), (2, 0.5)))
    (charge,) = outcome.charges
    assert charge.category == "eval"
    (twice,) = (c.tok for c in corners[0].charges if c.category == "eval")
    assert charge.tok * 2 == twice, "a trained trial is scored at steps 4 and 8"
    whole = outcome.segment.config.with_({"r": 8})
    assert charge.flop == pytest.approx(eval_flop(make.facts, whole, charge.tok)), "two of rank 4"


def test_it_is_a_function_of_its_parents(make: Maker, tiny_space: Space, tmp_path: Path) -> None:
    _corners(make, tiny_space)
    merge = ((0, 0.5), (1, 0.5))
    first = _merge(make, tiny_space, merge)
    assert first.points == _merge(make, tiny_space, merge).points, "in a new evaluator"
    assert not (tmp_path / "trial-00003").exists(), "nothing is kept of it"
    # a parent that went on keeps the state that the merge is made of
    config = _config(tiny_space, 1.0, 0.0, 0.0)
    make().run([Segment(0, config, 8, 12, 10)])
    assert first.points == _merge(make, tiny_space, merge).points


def test_it_goes_alone_among_packed_trials(make: Maker, tiny_space: Space) -> None:
    _corners(make, tiny_space)
    merge = ((0, 0.5), (1, 0.5))
    alone = _merge(make, tiny_space, merge)
    mix = _config(tiny_space, 0.3, 0.3, 0.4)
    others = [Segment(i, mix, 0, 4, i) for i in (5, 6)]
    found = make(pack=3).run([others[0], alone.segment, others[1]])
    assert [o.status for o in found] == ["ok"] * 3
    assert found[1].points == alone.points


def test_what_goes_wrong_is_an_outcome(make: Maker, tiny_space: Space) -> None:
    _corners(make, tiny_space)
    missing = _merge(make, tiny_space, ((0, 0.5), (1, 0.5)), r=8)
    assert missing.status == "crashed"
    assert "the checkpoint does not fit lora" in missing.error
    make().discard(1)
    gone = _merge(make, tiny_space, ((0, 0.5), (1, 0.5)))
    assert gone.status == "crashed"
    assert "no checkpoint of trial 1 at step 8" in gone.error
    dora = _merge(make, tiny_space, ((0, 0.5), (2, 0.5)), method="dora")
    assert dora.status == "crashed"
    assert "wanted lora or rslora" in dora.error
    assert [c.tok for o in (missing, gone, dora) for c in o.charges] == [0, 0, 0]
