from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jobs_bench.errors import InputError, OptionError, SpaceError, UnknownNameError
from jobs_bench.fidelity import Fidelity
from jobs_bench.task.contract import Evaluator, ModelFacts, References, Task
from jobs_bench.task.finetune import (
    Choice,
    Domain,
    Exact,
    FineTune,
    Generate,
    Generation,
    Pairs,
    Passage,
    Recipe,
    Row,
)
from jobs_bench.task.leakage import LeakReport
from jobs_bench.task.text_spec import (
    ACC,
    BITS_PER_BYTE,
    EXACT_MATCH,
    GOLD_BPB,
    TextSpec,
    mixture_axis,
    preset_space,
    steps_of,
)
from jobs_bench.task.text_task import TextTask

MODEL = ModelFacts("m", Path("/model"), "d", 2, 10_000, 16, 100, 128)
RECIPE = Recipe(Fidelity((5, 10)), batch_size=2, max_length=32)
DOMAINS = (
    Domain("short", tuple(Row(f"{i}{i}", " a") for i in range(20)), (Row("p" * 9, " a"),)),
    Domain("long", tuple(Row(f"{i}" * 400, " a") for i in range(20))),
)


def spec(**changes: object) -> TextSpec:
    mixture = mixture_axis(DOMAINS, RECIPE)
    made = TextSpec(
        name="t",
        summary="A test.",
        model=MODEL,
        domains=DOMAINS,
        visible=(Choice("v", "cccc", ("a", "bbbbbbbb"), 0),),
        hidden=(Exact("h", "other", "x"),),
        recipe=RECIPE,
        metrics=(ACC, GOLD_BPB),
        metric="acc",
        search=preset_space("lora", mixture, MODEL.n_layers),
        estimate_tokens=len,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # any field, in any test


def test_it_meets_the_contract() -> None:
    task: Task = TextTask(spec())
    assert isinstance(task, Task)
    assert task.info.items == (1, 1)
    assert task.info.domains == (("short", 20), ("long", 20))
    assert task.info.metric.higher_is_better
    assert task.fidelity().horizon == 10
    assert task.candidates() is None
    assert task.references() == References(default=task.space().default())
    task.space().check(task.references().default)


def test_the_score_may_be_another_metric() -> None:
    task = TextTask(spec(metric="gold_bpb"))
    assert task.info.metric == GOLD_BPB
    assert not task.finetune().higher_is_better
    assert task.info.metric.score_bounds == (-math.inf, 0.0)
    with pytest.raises(UnknownNameError, match="gold_bpb"):
        TextTask(spec(metric="f1"))


def test_the_evaluator_comes_from_the_workshop() -> None:
    class Shop:
        workdir = Path()

        def finetune(self, spec: FineTune) -> Evaluator:
            self.got = spec
            return "evaluator"  # type: ignore[return-value]  # handed through unseen

    shop = Shop()
    task = TextTask(spec())
    assert str(task.evaluator(shop)) == "evaluator"
    assert shop.got.model_path == "/model"
    assert shop.got.domains == DOMAINS


def test_leaks_are_tagged() -> None:
    leaks = LeakReport(40, {"a": 3})
    assert TextTask(spec(leaks=leaks, tags=("x",))).info.tags == ("x", "leaks-dropped=3")
    assert TextTask(spec(leaks=LeakReport(40), tags=("x",))).info.tags == ("x",)


def test_planned_tokens_follow_rows_and_questions() -> None:
    task = TextTask(spec())
    space = task.space()
    only = [
        space.build({"mixture": {"short": w, "long": 1 - w}})  # type: ignore[dict-item]
        for w in (1.0, 0.5)
    ]
    train, scored = task.cost(only[0], 0, 10)
    short = sum(len(r.prompt) + 3 for r in DOMAINS[0].rows) / 20
    assert train.tok == round(short * 2 * 10)
    # one row of the domain that is held out, the question once, its options less their last token
    per_eval = (9 + 3) + 4 + 1 + 8
    assert scored.tok == per_eval * 2
    mixed, _ = task.cost(only[1], 0, 10)
    assert mixed.tok == round((0.5 * short + 0.5 * 32) * 2 * 10)  # long rows are cut


def test_costs_of_segments_add_up() -> None:
    task = TextTask(spec())
    config = task.space().default()
    whole = task.cost(config, 0, 10)
    parts = [task.cost(config, 0, 5), task.cost(config, 5, 10)]
    for i in range(2):
        assert whole[i].flop == pytest.approx(sum(part[i].flop for part in parts))
    assert all(charge.s == 0 for charge in whole)


def test_a_merged_trial_is_planned_for_as_one_evaluation() -> None:
    task = TextTask(spec())
    config = task.space().default()
    train, scored = task.cost(config, 5, 5)
    assert (train.tok, train.flop) == (0, 0)
    assert scored == task.cost(config, 0, 5)[1]


def test_generation_is_planned_for() -> None:
    generation = Generation((), 8, lambda text, gold: {"exact_match": float(text == gold)})
    questions = (Generate("g", "ab", "cde"),)
    task = TextTask(
        spec(visible=questions, generation=generation, metrics=(EXACT_MATCH,), metric="exact_match")
    )
    assert task.cost(task.space().default(), 0, 5)[1].tok == 12 + 5 + 5


def test_pairs_and_passages_are_planned_for() -> None:
    pairs = Pairs("p", (("abcd", " ef"), ("abcd", " eg"), ("xy", " e")), _Rule(0))
    task = TextTask(spec(visible=(pairs,)))
    assert task.cost(task.space().default(), 0, 5)[1].tok == 12 + (4 + 2) + (2 + 1)
    passage = Passage("p", "abcdef", 2, 6)
    task = TextTask(spec(visible=(passage,), metrics=(BITS_PER_BYTE,), metric="bits_per_byte"))
    assert task.cost(task.space().default(), 0, 5)[1].tok == 12 + 6


def test_texts_hold_rows_and_right_answers() -> None:
    asked = (
        Choice("c", "cc", ("a", "b"), 1),
        Exact("e", "ee", "x", "\n"),
        Generate("g", "gg", "long"),
        Pairs("p", (("pp", " no"), ("qq", " yes")), _Rule(0), gold=1),
        Passage("w", "All of it.", 3, 10),
    )
    generation = Generation((), 8, _grade)
    got = TextTask(spec(visible=asked, generation=generation)).texts()
    assert list(got.target) == ["cc b", "ee\nx", "gg long", "qq yes", "All of it."]
    assert got.domains["short"][3] == "33 a"
    assert "other" not in "".join(got.target)


def test_a_row_without_a_prompt_is_no_question() -> None:
    plain = (replace(DOMAINS[0], rows=tuple(Row("", f"{i}") for i in range(20))), DOMAINS[1])
    task = TextTask(spec(domains=plain, visible=(Passage("p", "abcdef", 2, 6),)))
    assert task.info.items == (1, 1)


def test_a_cost_in_a_subspace_uses_the_fixed_values() -> None:
    task = TextTask(spec())
    sub = task.space().subspace(["model"], task.space().default())
    part = TextTask(spec(search=task.space()))
    assert sub.complete(sub.default()) == part.space().default()


def test_the_signature_sees_everything_that_matters() -> None:
    base = spec()
    other_row = (replace(DOMAINS[0], rows=(*DOMAINS[0].rows[:-1], Row("new", " a"))), DOMAINS[1])
    moved = (replace(DOMAINS[0], rows=DOMAINS[0].rows[:-1], held_out=DOMAINS[0].rows[-1:]),)
    variants = [
        base,
        spec(metric="gold_bpb"),
        spec(domains=other_row),
        spec(domains=(*moved, DOMAINS[1])),
        spec(visible=(Choice("v", "cccc", ("a", "bbbbbbbb"), 1),)),
        spec(visible=base.hidden, hidden=base.visible),
        spec(recipe=replace(RECIPE, weight_decay=0.1)),
        spec(model=replace(MODEL, digest="e")),
        spec(search=preset_space("paper", mixture_axis(DOMAINS, RECIPE), 2)),
        spec(generation=Generation((), 8, _grade)),
        spec(generation=Generation(("x",), 8, _grade)),
        spec(generation=Generation(("x",), 8)),
        spec(visible=(Pairs("v", (("cccc", " a"),), _Rule(0)),)),
        spec(visible=(Pairs("v", (("cccc", " a"),), _Rule(1)),)),
        spec(visible=(Generate("v", "cccc", "a"),)),
        spec(visible=(Generate("v", "cccc", "a", rule=_TextRule()),)),
        spec(visible=(Passage("v", "cccc", 1, 1),)),
        spec(visible=(Passage("v", "cccc", 1, 2),)),
    ]
    signatures = [TextTask(v).signature() for v in variants]
    assert len(set(signatures)) == len(signatures)
    assert TextTask(spec(summary="Other words.", tags=("x",))).signature() == signatures[0]
    moved_model = spec(model=replace(MODEL, path=Path("/elsewhere"), name="n"))
    assert TextTask(moved_model).signature() == signatures[0]


@dataclass(frozen=True)
class _Rule:
    n: int

    def __call__(self, totals: Sequence[float], greedy: Sequence[bool]) -> dict[str, float]:
        return {"acc": float(self.n)}


@dataclass(frozen=True)
class _TextRule:
    def __call__(self, answer: str) -> dict[str, float]:
        return {"acc": float(len(answer))}


def _grade(text: str, gold: str) -> dict[str, float]:
    return {"exact_match": float(text == gold)}


def test_specs_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(InputError, match="mixture axes"):
        TextTask(spec(domains=tuple(reversed(DOMAINS))))
    with pytest.raises(InputError, match="no visible or no hidden"):
        TextTask(spec(hidden=()))
    with pytest.raises(InputError, match="without rows"):
        TextTask(spec(domains=(replace(DOMAINS[0], rows=()), DOMAINS[1])))
    with pytest.raises(OptionError, match="max_length=500"):
        TextTask(spec(recipe=replace(RECIPE, max_length=500)))
    with pytest.raises(InputError, match="drop_leaks"):
        TextTask(spec(visible=(Exact("v", DOMAINS[0].rows[3].prompt, "a"),)))


def test_the_mixture_axis_is_capped_by_rows() -> None:
    axis = mixture_axis(DOMAINS, RECIPE, max_epochs=0.5)
    assert axis.caps == (0.5, 0.5)
    assert axis.prior == (0.5, 0.5)
    with pytest.raises(SpaceError, match="add rows"):
        mixture_axis(DOMAINS, RECIPE, max_epochs=0.1)
    assert mixture_axis(DOMAINS[:1], RECIPE, floor=3.0).floor == 1.0


def test_presets_are_known_by_name() -> None:
    axis = mixture_axis(DOMAINS, RECIPE)
    assert "learning_rate" in preset_space("lora", axis, 2).names
    assert "lora_alpha" in preset_space("paper", axis, 2).names
    with pytest.raises(UnknownNameError, match="paper"):
        preset_space("papr", axis, 2)


def test_evaluation_steps_end_at_the_horizon() -> None:
    assert steps_of(100).steps == (10, 25, 50, 100)
    assert steps_of(1).steps == (1,)
    assert steps_of(3).steps == (1, 2, 3)
    with pytest.raises(OptionError):
        steps_of(0)


def test_planned_tokens_count_shared_examples_once() -> None:
    shots = "".join(f"Question: {i}?\nAnswer: {i}\n\n" for i in range(9))
    asked = [Exact(f"q{i}", f"{shots}Question: {i}?\nAnswer:", str(i)) for i in range(6)]
    alone, few = (
        TextTask(replace(spec(), visible=tuple(asked[:n]), hidden=tuple(asked))).cost(
            spec().search.default(), 0, 10
        )[1]
        for n in (1, 6)
    )
    evaluations = 2
    one = len(asked[0].context) + 1
    extra = one - len(f"{shots}Question: ")
    assert few.tok - alone.tok == 5 * extra * evaluations
