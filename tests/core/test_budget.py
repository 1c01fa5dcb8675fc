from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs_bench.budget import Budget, Charge, Ledger
from jobs_bench.errors import BudgetError


@pytest.mark.parametrize(
    ("text", "limit", "currency"),
    [("8x", 8, "x"), ("2e6tok", 2e6, "tok"), ("1.5e15 flop", 1.5e15, "flop"), (".5s", 0.5, "s")],
)
def test_budgets_are_read(text: str, limit: float, currency: str) -> None:
    assert Budget.parse(text) == Budget(limit, currency)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "8", "x", "-3x", "8y", "8 x 3", "nanx", "0x", "infx"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(BudgetError, match="got"):
        Budget.parse(text)


charges = st.builds(
    Charge,
    st.sampled_from(["train", "eval", "proxy"]),
    st.integers(0, 10**9),
    st.floats(0, 1e15),
    st.floats(0, 1e4),
)


@given(st.lists(charges, max_size=20))
def test_categories_add_up_to_the_total(some: list[Charge]) -> None:
    ledger = Ledger(full_run_flop=2e12)
    ledger.add(some)
    for currency in ("x", "tok", "flop", "s"):
        total = ledger.spent(currency)
        parts = sum(ledger.by_category(currency).values())
        assert total == pytest.approx(parts)
        assert total == pytest.approx(ledger.convert(some, currency))
    assert ledger.spent("x") == pytest.approx(ledger.spent("flop") / 2e12)


def test_a_full_run_must_cost_something() -> None:
    with pytest.raises(BudgetError, match="got 0"):
        Ledger(0.0)
