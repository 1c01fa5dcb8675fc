"""What training rows and visible questions say, for methods that read text instead of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of a task; nothing of its hidden questions.

    Attributes:
        domains: For each training domain its rows, prompt and answer in one.
        target: The visible questions with their right answers.
    """

    domains: Mapping[str, Sequence[str]]
    target: Sequence[str]


Read = Callable[[], Texts]
