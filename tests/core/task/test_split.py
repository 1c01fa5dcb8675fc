from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs_bench.errors import InputError, OptionError
from jobs_bench.task.finetune import Exact, Question
from jobs_bench.task.split import by_hash, fraction, split_questions

QUESTIONS: list[Question] = [Exact(f"q{i}", f"{i}?", "x") for i in range(1000)]


def ids(questions: tuple[Question, ...]) -> set[str]:
    return {question.id for question in questions}


def test_the_hash_is_the_same_everywhere() -> None:
    assert fraction("q0", "side") == pytest.approx(0.21395929, abs=1e-8)


def test_about_half_is_visible_and_nothing_is_lost() -> None:
    visible, hidden = split_questions(QUESTIONS)
    assert 430 < len(visible) < 570
    assert ids(visible) | ids(hidden) == {q.id for q in QUESTIONS}
    assert not ids(visible) & ids(hidden)


@given(st.permutations(range(40)), st.integers(1, 40))
def test_neither_order_nor_company_moves_a_question(order: list[int], n: int) -> None:
    whole = split_questions(QUESTIONS)
    some = [QUESTIONS[i] for i in order] + QUESTIONS[40 : 40 + n]
    visible, hidden = split_questions(some)
    assert ids(visible) <= ids(whole[0])
    assert ids(hidden) <= ids(whole[1])
    assert split_questions(sorted(some, key=lambda q: q.id)) == (visible, hidden)


def test_a_smaller_limit_is_a_subset_and_not_the_first_of_the_file() -> None:
    small, large = (split_questions(QUESTIONS, n_visible=n, n_hidden=n)[0] for n in (10, 50))
    assert small == large[:10]
    assert ids(small) != ids(split_questions(QUESTIONS[:30])[0])


def test_the_share_is_kept() -> None:
    visible, _ = split_questions(QUESTIONS, share=0.2)
    assert 150 < len(visible) < 250


def test_impossible_splits_are_refused() -> None:
    with pytest.raises(InputError, match=r"1 ids .*q3"):
        split_questions([*QUESTIONS, QUESTIONS[3]])
    with pytest.raises(InputError, match="either side"):
        split_questions(QUESTIONS[:1])
    with pytest.raises(InputError, match="either side"):
        split_questions([])
    with pytest.raises(OptionError, match="n_hidden=0"):
        split_questions(QUESTIONS, n_hidden=0)
    with pytest.raises(OptionError, match="share"):
        split_questions(QUESTIONS, share=1.0)


def test_hash_order_depends_on_the_salt() -> None:
    names = [str(i) for i in range(20)]
    assert by_hash(names, str, "a") != by_hash(names, str, "b")
    assert sorted(by_hash(names, str, "a")) == sorted(names)
