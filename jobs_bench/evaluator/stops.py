"""Where an answer ends: texts that stop it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

MARGIN: Final = 16
"""Characters of a decoded tail that its beginning or later tokens may change.

A tokenizer drops the space before a first token, shows an unfinished UTF-8 character as up to three
replacement characters, and some tidy spaces before punctuation and contractions.
"""


def cut(text: str, stops: Sequence[str]) -> str:
    """Return `text` up to the first of the stop texts."""
    for stop in stops:
        text = text.split(stop)[0] if stop else text
    return text


class StopWatch:
    """Says after each token whether the text of all tokens so far has a stop text in it.

    Only a tail is decoded. It is long enough that a stop text which the new token completes lies
    in it whole, behind `MARGIN` characters; what it finds is confirmed on the whole text.

    Args:
        decode: From tokens to text.
        stops: Empty ones do not count.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str]) -> None:
        self._decode = decode
        self._stops = tuple(stop for stop in stops if stop)
        self._need = max(map(len, self._stops), default=0) + MARGIN
        self._ids: list[int] = []
        self._start = 0

    def add(self, token: int) -> bool:
        """Return whether there is a stop text now; there was none before."""
        if not self._stops:
            return False
        self._ids.append(token)
        tail = self._decode(self._ids[self._start :])
        if self._has_stop(tail) and (not self._start or self._has_stop(self._decode(self._ids))):
            return True
        if len(tail) >= 4 * self._need:
            half = (self._start + len(self._ids)) // 2
            if len(self._decode(self._ids[half:])) >= self._need:
                self._start = half
        return False

    def _has_stop(self, text: str) -> bool:
        return any(stop in text for stop in self._stops)
