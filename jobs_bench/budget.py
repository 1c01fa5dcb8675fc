"""What a study may spend, and what it has spent: currencies, charges and the ledger.

Four currencies: ``x`` (full-run equivalents: FLOPs divided by those of one full run of the default
recipe, its evaluations included), ``tok`` (tokens through the model), ``flop`` and ``s`` (seconds
of evaluator time). The first three do not depend on the machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from jobs_bench.errors import BudgetError

Currency = Literal["x", "tok", "flop", "s"]
Category = Literal["train", "eval", "proxy"]
CURRENCIES: Final[tuple[Currency, ...]] = get_args(Currency)
CATEGORIES: Final[tuple[Category, ...]] = get_args(Category)

_BUDGET = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(x|tok|flop|s)\s*")


@dataclass(frozen=True, slots=True)
class Budget:
    """A total limit in one currency, ``(0, inf)``."""

    limit: float
    currency: Currency = "x"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.limit) and self.limit > 0):
            raise BudgetError(f"got a budget of {self.limit}; wanted a finite number above 0")

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``"8x"``, ``"2e6tok"``, ``"1e15flop"`` or ``"3600s"``.

        Raises:
            BudgetError: The text has another form.
        """
        match = _BUDGET.fullmatch(text)
        if match is None:
            raise BudgetError(
                f"got the budget {text!r}; wanted a number and a currency, as in 8x, 2e6tok, "
                f"1e15flop or 3600s (currencies: {', '.join(CURRENCIES)})"
            )
        currency = next(c for c in CURRENCIES if c == match[2])
        return cls(float(match[1]), currency)

    def __str__(self) -> str:
        return f"{self.limit:g}{self.currency}"


@dataclass(frozen=True, slots=True)
class Charge:
    """What one piece of work cost.

    Attributes:
        category: ``train``, ``eval`` (scoring for the strategy) or ``proxy`` (models that are not
            trials, such as a reference model).
        tok: Tokens that went through the model, padding excluded.
        flop: Floating-point operations by the task's cost model.
        s: Wall-clock seconds.
    """

    category: Category
    tok: int
    flop: float
    s: float = 0.0

    def plus(self, other: Charge) -> Charge:
        """Return the sum of two charges of one category."""
        if self.category != other.category:
            raise ValueError(f"charges of {self.category!r} and {other.category!r} do not add up")
        return Charge(self.category, self.tok + other.tok, self.flop + other.flop, self.s + other.s)


@dataclass(slots=True)
class Ledger:
    """Charges added up by category.

    Attributes:
        full_run_flop: FLOPs of one full run of the default recipe, the unit of ``x``.
    """

    full_run_flop: float
    totals: dict[Category, Charge] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.full_run_flop) and self.full_run_flop > 0):
            raise BudgetError(
                f"got {self.full_run_flop} FLOPs for a full run; wanted a finite number above 0"
            )

    def add(self, charges: Iterable[Charge]) -> None:
        """Add charges to the totals."""
        for charge in charges:
            have = self.totals.get(charge.category)
            self.totals[charge.category] = charge if have is None else have.plus(charge)

    def convert(self, charges: Iterable[Charge], currency: Currency) -> float:
        """Return the sum of `charges` in `currency`."""
        charges = tuple(charges)
        if currency == "tok":
            return float(sum(c.tok for c in charges))
        if currency == "s":
            return math.fsum(c.s for c in charges)
        flop = math.fsum(c.flop for c in charges)
        return flop if currency == "flop" else flop / self.full_run_flop

    def spent(self, currency: Currency) -> float:
        """Return everything spent so far in `currency`."""
        return self.convert(self.totals.values(), currency)

    def by_category(self, currency: Currency) -> dict[Category, float]:
        """Return what was spent in `currency`, one entry for each category that was charged."""
        return {c: self.convert([self.totals[c]], currency) for c in CATEGORIES if c in self.totals}
