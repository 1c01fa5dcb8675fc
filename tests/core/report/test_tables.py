from __future__ import annotations

import math

import pytest

from jobs_bench.report.tables import MISSING, amount_text, figure_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5000"),
        (0.0, "0.0000"),
        (-1.23456, "\N{MINUS SIGN}1.2346"),
        (12345.678, "1.235e+04"),
        (1e-5, "1e\N{MINUS SIGN}05"),
        (None, MISSING),
        (math.nan, MISSING),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert figure_text(value) == text


def test_gains_have_a_sign() -> None:
    assert figure_text(0.25, sign=True) == "+0.2500"


def test_amounts() -> None:
    assert [amount_text(v) for v in (8.0, 7.992, 123456.0, 2.5e6)] == [
        "8", "7.992", "1.235e+05", "2.500e+06",
    ]  # fmt: skip
