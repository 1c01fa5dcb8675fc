"""What an ask may still spend, and how a strategy says that it has come to its end."""

from __future__ import annotations

from jobs_bench.space.configuration import Configuration
from jobs_bench.strategy.contract import AskContext, Problem
from jobs_bench.trial import Done, Wait

# The runner accepts a segment that exceeds what is left by up to this share of a full run:
# estimates are not exact, and a budget of 8x shall pay for eight full runs.
SLACK = 0.01


class Purse:
    """The budget of one ask: `take` books a segment when it can be paid for."""

    def __init__(self, problem: Problem, ctx: AskContext) -> None:
        self._cost = problem.cost
        self._slack = SLACK * problem.full_cost()
        self.left = ctx.remaining

    def affords(self, config: Configuration, start: int, until: int) -> bool:
        """Return whether the segment can be paid for."""
        return self._cost(config, start, until) <= self.left + self._slack

    def take(self, config: Configuration, start: int, until: int) -> bool:
        """Book the segment; return whether it could be paid for."""
        if not self.affords(config, start, until):
            return False
        self.left -= self._cost(config, start, until)
        return True


def end(ctx: AskContext) -> Wait | Done:
    """Return `Done`, or `Wait` while something runs that may cost less than expected."""
    return Wait() if ctx.running else Done()
