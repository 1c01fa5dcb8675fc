from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from jobs_bench.errors import StorageError
from jobs_bench.evaluator.finetune import FineTuneEvaluator
from jobs_bench.space.configuration import AxisValue, Configuration
from jobs_bench.space.space import Space
from jobs_bench.task.contract import ModelFacts
from jobs_bench.task.cost import eval_flop, train_flop
from jobs_bench.task.finetune import Exact, FineTune
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.trainer import Trainer
from jobs_bench.trial import Outcome, Segment


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> LanguageModel:
    return LanguageModel(tiny_folder, torch.device("cpu"))


class Maker:
    def __init__(self, spec: FineTune, facts: ModelFacts, model: LanguageModel, root: Path) -> None:
        self.spec = spec
        self.facts = facts
        self.model = model
        self.root = root

    def __call__(self, name: str = "a") -> FineTuneEvaluator:
        made = FineTuneEvaluator(self.spec, self.facts, self.root / name, torch.device("cpu"))
        made.adopt(self.model)
        return made


@pytest.fixture
def make(
    tiny_spec: FineTune, tiny_facts: ModelFacts, model: LanguageModel, tmp_path: Path
) -> Maker:
    smooth = dataclasses.replace(
        tiny_spec,
        visible=tuple(q for q in tiny_spec.visible if q.id.startswith("q")),
        metric="gold_bpb",
        higher_is_better=False,
    )
    smooth = dataclasses.replace(smooth, hidden=smooth.visible[:6])
    return Maker(smooth, tiny_facts, model, tmp_path)


@pytest.fixture(autouse=True)
def _the_base_model_stays(model: LanguageModel) -> Iterator[None]:
    """Whatever happens to a segment, the base model is the same after it, to the bit."""
    before = {n: p.clone() for n, p in model.hf.named_parameters()}
    yield
    after = dict(model.hf.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert not any(p.requires_grad for p in after.values())


def _config(space: Space, **values: AxisValue) -> Configuration:
    return space.build({"method": "lora", **values})


def _one(evaluator: FineTuneEvaluator, segment: Segment) -> Outcome:
    (outcome,) = evaluator.run([segment])
    assert outcome.segment == segment
    return outcome


def _steps(outcome: Outcome) -> list[int]:
    return [p.step for p in outcome.points]


def test_segments_through_checkpoints_equal_the_whole(make: Maker, tiny_space: Space) -> None:
    config = _config(tiny_space, lora_dropout=0.1)
    whole = _one(make(), Segment(0, config, 0, 12, 5))
    assert whole.status == "ok"
    assert _steps(whole) == [4, 8, 12]
    parts = [_one(make(), Segment(1, config, a, b, 5)) for a, b in ((0, 4), (4, 8), (8, 12))]
    assert [p for part in parts for p in part.points] == list(whole.points)
    assert len({p.score.mean for p in whole.points}) == 3, "training moves the score"
    other = _one(make(), Segment(2, config, 0, 12, 6))
    assert other.points != whole.points, "another seed is another run"
    for point in whole.points:
        assert point.score.mean == -point.metrics["gold_bpb"].mean
        assert set(point.domain_losses) == {"copy", "back", "sort"}


def test_a_batch_of_segments_equals_them_alone(make: Maker, tiny_space: Space) -> None:
    segments = [Segment(i, _config(tiny_space, r=r), 0, 4, i) for i, r in enumerate((1, 4, 8))]
    together = make().run(segments)
    alone = [_one(make("b"), s) for s in reversed(segments)][::-1]
    assert [o.points for o in together] == [o.points for o in alone]


def test_divergence_is_told_with_what_it_cost(make: Maker, tiny_space: Space) -> None:
    absurd = _config(tiny_space, method="full").with_({"learning_rate": 1e18})
    outcome = _one(make(), Segment(0, absurd, 0, 12, 5))
    assert outcome.status == "diverged"
    assert "not finite" in outcome.error
    train = outcome.charges[0]
    assert train.category == "train"
    assert train.tok > 0
    assert train.flop > 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError("no room"), "oom"),
        (torch.OutOfMemoryError("CUDA out of memory"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "oom"),
        (RuntimeError("shapes do not fit"), "crashed"),
        (ValueError("odd"), "crashed"),
    ],
)
def test_failures_are_outcomes(
    make: Maker,
    tiny_space: Space,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: str,
) -> None:
    steps: list[int] = []
    plain = Trainer._update

    def fails(self: Trainer, grads: list[torch.Tensor], norm: float, step: int) -> None:
        steps.append(step)
        if step == 6:
            raise error
        plain(self, grads, norm, step)

    monkeypatch.setattr(Trainer, "_update", fails)
    evaluator = make()
    segments = [Segment(0, _config(tiny_space), 0, 12, 5), Segment(1, _config(tiny_space), 0, 4, 5)]
    first, second = evaluator.run(segments)
    assert first.status == status
    assert str(error) in first.error
    assert _steps(first) == [4], "what was measured before is told"
    assert second.status == "ok", "the next segment of the batch is not harmed"
    assert second.charges[0].tok > 0
    stream = evaluator.stock.stream.batches(_config(tiny_space).mixture(), 5, 0, 5)
    paid = sum(b.tokens for b in stream)
    assert first.charges[0].tok == paid, "all five steps, the one after the last point too"


def test_a_full_disk_is_no_trials_fault(
    make: Maker, tiny_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jobs_bench.train.checkpoint.save_file", full)
    with pytest.raises(StorageError, match="No space left"):
        make().run([Segment(0, _config(tiny_space), 0, 4, 5)])
    assert [p for p in make.root.rglob("*") if p.is_file()] == []


def test_a_missing_checkpoint_is_told(make: Maker, tiny_space: Space) -> None:
    outcome = _one(make(), Segment(3, _config(tiny_space), 4, 8, 5))
    assert outcome.status == "crashed"
    assert "no checkpoint of trial 3 at step 4" in outcome.error
    assert outcome.points == ()


def test_a_damaged_checkpoint_is_told(make: Maker, tiny_space: Space) -> None:
    evaluator = make()
    _one(evaluator, Segment(3, _config(tiny_space), 0, 4, 5))
    (file,) = make.root.rglob("params.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    outcome = _one(evaluator, Segment(3, _config(tiny_space), 4, 8, 5))
    assert outcome.status == "crashed"
    assert "no checkpoint of trial 3 at step 4" in outcome.error


def test_charges_add_up(make: Maker, tiny_space: Space) -> None:
    config = _config(tiny_space)
    whole = _one(make(), Segment(0, config, 0, 12, 5))
    parts = [_one(make(), Segment(1, config, a, b, 5)) for a, b in ((0, 4), (4, 12))]
    for i, category in enumerate(("train", "eval")):
        wanted = whole.charges[i]
        assert wanted.category == category
        assert sum(p.charges[i].tok for p in parts) == wanted.tok > 0
        assert sum(p.charges[i].flop for p in parts) == pytest.approx(wanted.flop)
        assert wanted.s > 0
    train, evaluated = whole.charges
    assert train.flop == train_flop(make.facts, config, train.tok, 12)
    assert evaluated.flop == eval_flop(make.facts, config, evaluated.tok)
    stream = make().stock.stream.batches(config.mixture(), 5, 0, 12)
    assert train.tok == sum(b.tokens for b in stream)
    rows = [r.prompt + r.answer for d in make.spec.domains for r in d.held_out]
    asked = [q.context + " " + getattr(q, "answer", "") for q in make.spec.visible]
    # letters are tokens; the end token is only predicted
    assert evaluated.tok == 3 * sum(len(text) for text in rows + asked)


def test_a_fork_begins_where_its_parent_stands(make: Maker, tiny_space: Space) -> None:
    config = _config(tiny_space)
    evaluator = make()
    _one(evaluator, Segment(0, config, 0, 4, 5))
    straight = _one(make(), Segment(0, config, 4, 8, 5))
    same = _one(evaluator, Segment(1, config, 4, 8, 5, parent=0))
    assert same.points == straight.points
    slow = config.with_({"learning_rate": 1e-3})
    other = _one(evaluator, Segment(2, slow, 4, 8, 5, parent=0))
    assert other.status == "ok"
    assert other.points != same.points
    on = _one(evaluator, Segment(2, slow, 8, 12, 5))
    assert on.status == "ok", "the fork has checkpoints of its own"
    wide = _config(tiny_space, r=8)
    misfit = _one(evaluator, Segment(3, wide, 4, 8, 5, parent=0))
    assert misfit.status == "crashed"
    assert "does not fit" in misfit.error


def test_discard_removes_the_files_of_one_trial(make: Maker, tiny_space: Space) -> None:
    evaluator = make()
    for trial in (0, 1):
        _one(evaluator, Segment(trial, _config(tiny_space), 0, 4, 5))
    evaluator.discard(0)
    evaluator.discard(17)
    left = {p.relative_to(make.root / "a").parts[0] for p in make.root.rglob("*") if p.is_file()}
    assert left == {"trial-00001"}
    assert _one(evaluator, Segment(1, _config(tiny_space), 4, 8, 5)).status == "ok"


def test_the_oracle_asks_hidden_questions_and_keeps_nothing(make: Maker, tiny_space: Space) -> None:
    evaluator = make()
    config = _config(tiny_space)
    first, second = evaluator.oracle(config, [7, 8])
    assert [_steps(o) for o in (first, second)] == [[12], [12]]
    assert first.points != second.points
    assert first.points[0].score.n == len(make.spec.hidden)
    assert evaluator.oracle(config, [7])[0].points == first.points
    (base,) = evaluator.oracle(None, [0])
    assert _steps(base) == [0]
    assert base.status == "ok"
    assert base.points[0].score.mean < first.points[0].score.mean, "training helps"
    assert not list(make.root.rglob("*")), "the oracle writes no checkpoints"


@pytest.mark.parametrize("method", ["lora", "rslora", "dora", "ia3"])
def test_an_exported_adapter_is_the_trained_one(
    make: Maker,
    tiny_space: Space,
    tmp_path: Path,
    model: LanguageModel,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    ids = torch.tensor([model.encode("sort: abcd? abcd")])
    trained: list[torch.Tensor] = []
    plain = FineTuneEvaluator._point

    def spy(self: FineTuneEvaluator, *args: object, **options: object) -> object:
        with torch.no_grad():
            trained.append(self.model.hf(input_ids=ids).logits)
        return plain(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FineTuneEvaluator, "_point", spy)
    config = _config(tiny_space, method=method)
    folder = tmp_path / "adapter"
    outcome = make().export(config, 3, folder)
    assert outcome.status == "ok"
    assert outcome.points == make().oracle(config, [3])[0].points
    base = AutoModelForCausalLM.from_pretrained(make.spec.model_path, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(base, str(folder)).eval()
    with torch.no_grad():
        got = loaded(input_ids=ids).logits
        plainly = model.hf(input_ids=ids).logits
    torch.testing.assert_close(got, trained[0])
    assert not torch.allclose(got, plainly, atol=1e-3), "the adapter does something"
    assert AutoTokenizer.from_pretrained(folder)("ab")["input_ids"] == model.encode("ab")


def test_a_fully_trained_model_is_exported_whole(
    make: Maker, tiny_space: Space, tmp_path: Path, model: LanguageModel
) -> None:
    outcome = make().export(_config(tiny_space, method="full"), 3, tmp_path / "model")
    assert outcome.status == "ok"
    other = LanguageModel(tmp_path / "model", torch.device("cpu"))
    loaded = FineTuneEvaluator(make.spec, make.facts, tmp_path / "x", torch.device("cpu"))
    loaded.adopt(other)
    (again,) = loaded.oracle(None, [0])
    assert again.points[0].score.mean == pytest.approx(outcome.points[0].score.mean, rel=1e-6)


def test_a_metric_that_no_question_gives_is_told(make: Maker, tiny_space: Space) -> None:
    make.spec = dataclasses.replace(make.spec, metric="acc")
    outcome = _one(make(), Segment(0, _config(tiny_space), 0, 4, 5))
    assert outcome.status == "crashed"
    assert "wanted the metric acc" in outcome.error


def test_a_point_says_what_each_question_came_to(make: Maker, tiny_space: Space) -> None:
    (point, *_) = _one(make(), Segment(0, _config(tiny_space), 0, 4, 5)).points
    assert set(point.items) == {"gold_bpb", "gold_logprob"}
    assert len(point.items["gold_bpb"]) == point.score.n == len(make.spec.visible)
    assert sum(point.items["gold_bpb"]) / point.score.n == pytest.approx(
        -point.score.mean, abs=1e-4
    )
    first = make.spec.visible[0]
    assert isinstance(first, Exact)
    bits = point.items["gold_bpb"][0] * len((first.delimiter + first.answer).encode())
    assert point.items["gold_logprob"][0] == pytest.approx(-bits * math.log(2), abs=1e-3)
