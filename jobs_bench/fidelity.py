"""How far a trial can be trained, and what else a task can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobs_bench.errors import ContractError, OptionError

Capability = Literal[
    "resume",
    "fork",
    "curves",
    "domain_losses",
    "texts",
    "reweight",
    "domain_gradients",
    "merge",
    "logprobs",
]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The steps at which a trial can stand.

    Attributes:
        steps: Ascending optimiser steps at which trials are evaluated and may pause; the last one
            is the horizon, the length of a full run.
        unit: Name of the unit.
    """

    steps: tuple[int, ...]
    unit: str = "step"

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if not self.steps or self.steps[0] <= 0 or not ascending:
            raise ContractError(f"got the steps {self.steps}; wanted ascending numbers above 0")

    @property
    def lo(self) -> int:
        """Return the shortest run."""
        return self.steps[0]

    @property
    def horizon(self) -> int:
        """Return the length of a full run."""
        return self.steps[-1]

    def snap(self, step: float) -> int:
        """Return the smallest allowed step that is at least `step`, or the horizon."""
        return next((s for s in self.steps if s >= step - 1e-9), self.horizon)

    def after(self, step: int) -> int:
        """Return the next allowed step after `step`, or the horizon."""
        return next((s for s in self.steps if s > step), self.horizon)

    def rungs(self, eta: float) -> tuple[int, ...]:
        """Return allowed steps at about ``horizon / eta**k``, ascending, ending at the horizon."""
        if eta <= 1:
            raise OptionError(f"got eta={eta}; wanted a number above 1")
        wanted = float(self.horizon)
        found = [self.horizon]
        while (wanted := wanted / eta) >= self.lo * (1 - 1e-9):
            near = min(self.steps, key=lambda s: (abs(s - wanted), s))
            if near < found[-1]:
                found.append(near)
        return tuple(reversed(found))
