"""Which questions a strategy sees and which only the oracle asks, decided by hash, once.

The side depends on the question's id alone: neither the order of a file nor the other questions
move it. Limits keep the first questions in a second hash order, never the first of a file, so that
a smaller limit is a subset of a larger one.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from jobs_bench.errors import InputError, OptionError
from jobs_bench.task.finetune import Question

T = TypeVar("T")


def fraction(name: str, salt: str) -> float:
    """Return a number in ``[0, 1)`` that depends on `name` and `salt` alone, on every machine."""
    digest = hashlib.sha256(f"{salt}\x1f{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def by_hash(items: Sequence[T], key: Callable[[T], str], salt: str) -> list[T]:
    """Return `items` in the order of the hashes of their keys."""
    return sorted(items, key=lambda item: (fraction(key(item), salt), key(item)))


def split_questions(
    questions: Sequence[Question],
    *,
    n_visible: int | None = None,
    n_hidden: int | None = None,
    share: float = 0.5,
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """Return the visible and the hidden questions, each in hash order.

    Args:
        questions: With distinct ids.
        n_visible: At most so many visible ones, ``None``: all.
        n_hidden: At most so many hidden ones, ``None``: all.
        share: Expected share of visible ones, ``(0, 1)``.

    Raises:
        OptionError: A limit below 1 or a share outside ``(0, 1)``.
        InputError: Two questions of one id, or a side without a question.
    """
    if not 0 < share < 1:
        raise OptionError(f"got a visible share of {share}; wanted a number in (0, 1)")
    for label, limit in (("n_visible", n_visible), ("n_hidden", n_hidden)):
        if limit is not None and limit < 1:
            raise OptionError(f"got {label}={limit}; wanted at least 1")
    ids = [question.id for question in questions]
    twice = sorted(name for name, n in Counter(ids).items() if n > 1)
    if twice:
        raise InputError(
            f"got {len(twice)} ids that stand for several questions ({', '.join(twice[:5])}); "
            "wanted one id a question"
        )
    ordered = by_hash(questions, lambda q: q.id, "order")
    visible = [q for q in ordered if fraction(q.id, "side") < share]
    hidden = [q for q in ordered if fraction(q.id, "side") >= share]
    if not visible or not hidden:
        raise InputError(
            f"got {len(ids)} questions, {len(visible)} of them visible and {len(hidden)} hidden; "
            "wanted at least one on either side: give more questions"
        )
    return tuple(visible[:n_visible]), tuple(hidden[:n_hidden])
