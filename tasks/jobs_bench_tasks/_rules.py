"""How answers are graded where it takes more than one right option or text.

The definitions are those of lm-evaluation-harness 0.4.13 (MIT licence); a parity test compares.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs_bench_tasks._overlap import bleu, rouge

_NO_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class MassOnRight:
    """``acc``: the share of the options' probability that lies on right ones.

    The harness exponentiates log-likelihoods as they are, which is 0/0 for very long options; here
    the largest is taken off first, which changes nothing else.

    Attributes:
        right: Indices of the right options.
    """

    right: tuple[int, ...]

    def __call__(self, totals: Sequence[float], greedy: Sequence[bool]) -> Mapping[str, float]:
        """Return the metric."""
        del greedy
        top = max(totals)
        mass = [math.exp(total - top) for total in totals]
        return {"acc": math.fsum(mass[i] for i in self.right) / math.fsum(mass)}


@dataclass(frozen=True, slots=True)
class OneOf:
    """``exact_match``: the answer is one of several, case and ASCII punctuation aside.

    Attributes:
        answers: Accepted ones, at least one.
    """

    answers: tuple[str, ...]

    def __call__(self, answer: str) -> Mapping[str, float]:
        """Return the metric."""
        wanted = {_bare(accepted) for accepted in self.answers}
        return {"exact_match": float(_bare(answer.strip()) in wanted)}


def _bare(text: str) -> str:
    return text.lower().translate(_NO_PUNCTUATION)


OVERLAPS: Final = ("bleu", "rouge1", "rouge2", "rougeL")


@dataclass(frozen=True, slots=True)
class CloserToTrue:
    """Whether an answer is more like true answers than like false ones.

    For each of `OVERLAPS`: ``_max``, the best overlap with a true answer in percent; ``_diff``,
    that less the best with a false one; ``_acc``, whether the difference is positive.

    Attributes:
        true: At least one.
        false: At least one.
    """

    true: tuple[str, ...]
    false: tuple[str, ...]

    def __call__(self, answer: str) -> Mapping[str, float]:
        """Return the metrics."""
        best = [
            [max(column) for column in zip(*(_overlaps(answer, r) for r in refs), strict=True)]
            for refs in (self.true, self.false)
        ]
        graded: dict[str, float] = {}
        for name, true, false in zip(OVERLAPS, *best, strict=True):
            graded[f"{name}_max"] = true
            graded[f"{name}_acc"] = float(true > false)
            graded[f"{name}_diff"] = true - false
        return graded


def _overlaps(answer: str, reference: str) -> tuple[float, float, float, float]:
    return (bleu(answer, reference), *rouge(answer, reference))
