from __future__ import annotations

import pytest

from jobs_bench.errors import InputError
from jobs_bench.task.finetune import Domain, Row
from jobs_bench.task.leakage import N_GRAM, LeakIndex, drop_leaks, refuse_leaks, words

QUESTION = "Which planet is the largest in the solar system?"
LONG = "a tale of " + " ".join(f"word{i}" for i in range(30)) + " and so on"
CLEAN = Row("Question: What melts at 0 C?\nAnswer:", " ice")


def test_case_punctuation_and_spacing_do_not_count() -> None:
    assert words("  Wh\u00edch  PLANET-is\u00a0it?_") == ("wh\u00edch", "planet", "is", "it")
    index = LeakIndex([QUESTION])
    row = Row("Q: which planet is THE largest,\nin the solar system ...", " Jupiter")
    assert index.find(row) == "verbatim"


def test_a_question_inside_a_longer_row_is_found() -> None:
    assert LeakIndex([QUESTION]).find(Row(f"Read. {QUESTION} A. x\nAnswer:", " A")) == "verbatim"


def test_part_of_a_short_question_is_no_leak() -> None:
    row = Row("Which planet is the largest in our system?", " x")
    assert LeakIndex([QUESTION]).find(row) is None


def test_a_long_run_of_words_is_an_overlap() -> None:
    run = " ".join(LONG.split()[5 : 5 + N_GRAM])
    assert LeakIndex([LONG]).find(Row(f"other {run} other", " x")) == "overlap"
    shorter = " ".join(LONG.split()[5 : 4 + N_GRAM])
    assert LeakIndex([LONG]).find(Row(f"other {shorter} other", " x")) is None


def test_short_questions_must_be_equal_letter_for_letter() -> None:
    index = LeakIndex(["3 + 4 ="])
    assert index.find(Row("3 + 4 =", " 7")) == "verbatim"
    assert index.find(Row("3 - 4 =", " -1")) is None
    assert index.find(Row("13 + 4 =", " 17")) is None


def test_a_short_question_in_its_template_is_found() -> None:
    prompt = "Question: What is ice?\nAnswer:"
    assert LeakIndex(["What is ice?"], [prompt]).find(Row(prompt, " water")) == "verbatim"
    assert LeakIndex(["What is ice?"]).find(Row(prompt, " water")) is None


def test_the_answer_side_is_looked_at_too() -> None:
    assert LeakIndex([QUESTION]).find(Row("Say it:", f" {QUESTION}")) == "verbatim"


def test_leaks_are_dropped_and_counted() -> None:
    run = " ".join(LONG.split()[3 : 4 + N_GRAM])
    domain = Domain("a", (CLEAN, Row(QUESTION, " x")), held_out=(Row(run, " x"), CLEAN))
    (kept, other), report = drop_leaks([domain, Domain("b", (CLEAN,))], [QUESTION, LONG])
    assert kept.rows == [CLEAN]
    assert kept.held_out == [CLEAN]
    assert list(other.rows) == [CLEAN]
    assert (report.rows, report.total) == (5, 2)
    assert (dict(report.verbatim), dict(report.overlap)) == ({"a": 1}, {"a": 1})
    assert "2 of 5 rows (a: 1 verbatim, 1 overlap)" in str(report)
    assert report.example == QUESTION


def test_a_domain_of_leaks_only_is_refused() -> None:
    with pytest.raises(InputError, match="every row of the domain 'a'"):
        drop_leaks([Domain("a", (Row(QUESTION, " x"),))], [QUESTION])


def test_leaks_can_be_refused() -> None:
    refuse_leaks([Domain("a", (CLEAN,))], [QUESTION])
    with pytest.raises(InputError, match=r"domain 'a' holds an evaluation question.*drop_leaks"):
        refuse_leaks([Domain("a", (CLEAN,), held_out=(Row(QUESTION, " x"),))], [QUESTION])
