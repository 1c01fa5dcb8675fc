"""What the study loop asks of whatever runs segments, and the driver that runs them in-process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from jobs_bench.errors import ContractError
from jobs_bench.space.configuration import Configuration
from jobs_bench.task.contract import Evaluator, Reweights
from jobs_bench.trial import Outcome, Segment


@dataclass(frozen=True, slots=True)
class OracleRequest:
    """A full run on the hidden items; `config` ``None``: the base model, untrained."""

    config: Configuration | None
    seed: int
    controller: str = ""


class Executor(Protocol):
    """Runs segments, now or in the background."""

    def launch(self, segments: Sequence[Segment]) -> None:
        """Take segments to run."""
        ...

    def wait(self, segment: Segment) -> Outcome:
        """Return the outcome of a launched segment."""
        ...

    def oracle(self, requests: Sequence[OracleRequest]) -> Sequence[Outcome]:
        """Return one outcome a request, in order."""
        ...

    def discard(self, trial_id: int) -> None:
        """Drop the checkpoints of a trial that will never be resumed."""
        ...

    def close(self) -> None:
        """Stop everything that still runs, without waiting for it."""
        ...


def answer(
    evaluator: Evaluator, config: Configuration | None, seeds: Sequence[int], controller: str = ""
) -> Sequence[Outcome]:
    """Return the oracle's outcomes, one a seed.

    Raises:
        ContractError: A controller, and an evaluator that knows of none.
    """
    if not controller or config is None:
        return evaluator.oracle(config, seeds)
    if not isinstance(evaluator, Reweights):
        raise ContractError(
            f"got the controller {controller}; {type(evaluator).__name__} cannot change a mixture "
            "on the way (no controlled_oracle)"
        )
    return evaluator.controlled_oracle(config, controller, seeds)


class InlineExecutor:
    """Runs segments in this process when their outcome is wanted.

    All segments in flight go to the evaluator in one batch, so that it may share work among them.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._waiting: list[Segment] = []
        self._done: dict[Segment, Outcome] = {}

    def launch(self, segments: Sequence[Segment]) -> None:
        """Take segments to run."""
        self._waiting.extend(segments)

    def wait(self, segment: Segment) -> Outcome:
        """Run what is waiting, and return the outcome of `segment`."""
        if segment not in self._done:
            if segment not in self._waiting:
                raise ContractError(f"{segment} was never launched")
            batch, self._waiting = self._waiting, []
            outcomes = self._evaluator.run(batch)
            if [o.segment for o in outcomes] != batch:
                raise ContractError("the evaluator answered other segments than it was given")
            self._done.update(zip(batch, outcomes, strict=True))
        return self._done.pop(segment)

    def oracle(self, requests: Sequence[OracleRequest]) -> list[Outcome]:
        """Return one outcome a request, in order."""
        outcomes: list[Outcome] = []
        for (config, controller), same in groupby(requests, key=lambda r: (r.config, r.controller)):
            seeds = [r.seed for r in same]
            got = answer(self._evaluator, config, seeds, controller)
            if len(got) != len(seeds):
                raise ContractError(f"got {len(got)} oracle outcomes; wanted {len(seeds)}")
            outcomes += got
        return outcomes

    def discard(self, trial_id: int) -> None:
        """Drop the checkpoints of a trial that will never be resumed."""
        self._evaluator.discard(trial_id)

    def close(self) -> None:
        """Close the evaluator."""
        self._evaluator.close()
