from __future__ import annotations

import math

import pytest

from jobs_bench.task.finetune import PairsRule, TextRule
from jobs_bench_tasks._rules import OVERLAPS, CloserToTrue, MassOnRight, OneOf


def _mass(right: tuple[int, ...], totals: list[float]) -> float:
    rule: PairsRule = MassOnRight(right)
    return rule(totals, [False] * len(totals))["acc"]


def test_mass_is_the_share_of_probability_on_right_options() -> None:
    totals = [math.log(0.2), math.log(0.1), math.log(0.1)]
    assert _mass((0,), totals) == pytest.approx(0.5)
    assert _mass((0, 2), totals) == pytest.approx(0.75)
    assert _mass((0, 1, 2), totals) == pytest.approx(1.0)


def test_mass_of_very_long_options_is_no_zero_over_zero() -> None:
    assert _mass((1,), [-2000.0, -2000.0 + math.log(3)]) == pytest.approx(0.75)
    assert _mass((0,), [-5000.0, -1.0]) == 0.0


def test_mass_does_not_hang_on_the_order_of_options() -> None:
    assert _mass((0, 1), [-1.0, -2.0, -3.0]) == pytest.approx(_mass((1, 2), [-3.0, -2.0, -1.0]))


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (" Mark Twain", True),
        ("mark twain ", True),
        ("Mark, Twain!", True),
        ("S.L. Clemens", True),
        ("Mark  Twain", False),
        ("Mark Twain wrote it", False),
        ("Mark", False),
        ("", False),
    ],
)
def test_one_of_several_answers(answer: str, right: bool) -> None:
    rule: TextRule = OneOf(("Mark Twain", "SL Clemens"))
    assert rule(answer) == {"exact_match": float(right)}


def test_an_answer_like_true_ones_is_closer_to_true() -> None:
    rule: TextRule = CloserToTrue(
        ("Nothing happens to you.", "The seeds pass through you."), ("You get very sick.",)
    )
    graded = rule("The seeds pass through you.")
    assert set(graded) == {f"{o}_{kind}" for o in OVERLAPS for kind in ("max", "acc", "diff")}
    for name in OVERLAPS:
        assert graded[f"{name}_max"] == pytest.approx(100)
        assert graded[f"{name}_acc"] == 1.0
        assert 0 < graded[f"{name}_diff"] <= 100 + 1e-9
    false = rule("You get very sick.")
    assert false["bleu_diff"] == pytest.approx(false["bleu_max"] - 100)
    assert false["rouge1_acc"] == 0.0


def test_a_tie_is_not_closer_to_true() -> None:
    rule = CloserToTrue(("a b c d",), ("w x y z",))
    for answer in ("", "nothing in common at all"):
        graded = rule(answer)
        assert {graded[f"{name}_acc"] for name in OVERLAPS} == {0.0}
        assert {graded[f"{name}_diff"] for name in OVERLAPS} == {0.0}


def test_rules_say_all_of_themselves() -> None:
    """Their text goes into signatures."""
    assert repr(MassOnRight((1, 2))) == "MassOnRight(right=(1, 2))"
    assert repr(OneOf(("a",))) != repr(OneOf(("b",)))
    assert "'f'" in repr(CloserToTrue(("t",), ("f",)))
