"""Stop texts are found at the token that completes them, whatever tokens look like."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from jobs_bench.evaluator.stops import StopWatch, cut

TEXT = (
    "Question: how many?\nAnswer: 12 apples, ~3 pears. Straße, naïve, 数える数, 🦊🦊 fox.\n\n"
    "He said: stop here. Question: and then? The end of it."
)


def _byte_level() -> Tokenizer:
    """Tokens of bytes: characters beyond ASCII take several."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([TEXT], trainer)
    return made


def _metaspace() -> Tokenizer:
    """Words that carry their space, which is dropped from the first; bytes for what is unknown."""
    begun = Tokenizer(models.BPE())
    begun.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=90, show_progress=False)
    begun.train_from_iterator([TEXT[:40]], trainer)
    learned = json.loads(begun.to_str())["model"]
    single = [f"<0x{i:02X}>" for i in range(256)]
    vocab = learned["vocab"] | {b: len(learned["vocab"]) + i for i, b in enumerate(single)}
    merges = [tuple(pair) for pair in learned["merges"]]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    spaces = [decoders.Replace("▁", " "), decoders.ByteFallback()]
    made.decoder = decoders.Sequence([*spaces, decoders.Fuse(), decoders.Strip(" ", left=1)])
    return made


KINDS = {"byte level": _byte_level, "metaspace": _metaspace}
STOPS: list[tuple[str, ...]] = [
    ("Question:",),
    ("\n\n", "数え"),
    ("🦊🦊",),
    (" stop here. Question: and then? The", "zz"),
    ("ß",),
    ("\ufffd",),
    (" ",),
    ("", "not there"),
]


@pytest.mark.parametrize("stops", STOPS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_tail_says_what_the_whole_text_says(kind: str, stops: tuple[str, ...]) -> None:
    tokenizer = KINDS[kind]()
    rng = random.Random(f"{kind}{stops}")
    ends: list[int] = []
    pieces = [tokenizer.encode(TEXT).ids, *(tokenizer.encode(s).ids for s in stops if s)]
    every = sorted({i for piece in pieces for i in piece})
    for _ in range(40):
        # half text, half noise: unfinished characters, stop texts in pieces, nothing for long
        ids: list[int] = []
        while len(ids) < 220:
            piece = rng.choice(pieces)
            start = rng.randrange(len(piece))
            noise = rng.choices(every, k=rng.randint(0, 4))
            ids += [*piece[start : start + rng.randint(1, 25)], *noise]
        ends.append(_first(tokenizer.decode, ids, stops))
        assert _watched(tokenizer.decode, ids, stops) == ends[-1]
    if stops != ("", "not there"):
        assert len(set(ends)) > 1 or stops == (" ",)


def _first(decode: Callable[[Sequence[int]], str], ids: list[int], stops: Sequence[str]) -> int:
    """Return after how many tokens the whole text first has a stop text; -1: never."""
    real = [s for s in stops if s]
    for n in range(1, len(ids) + 1):
        if any(s in decode(ids[:n]) for s in real):
            return n
    return -1


def _watched(decode: Callable[[Sequence[int]], str], ids: list[int], stops: Sequence[str]) -> int:
    watch = StopWatch(decode, stops)
    return next((n for n, token in enumerate(ids, start=1) if watch.add(token)), -1)


def test_only_tails_are_decoded() -> None:
    asked: list[int] = []

    def decode(ids: Sequence[int]) -> str:
        asked.append(len(ids))
        return "".join(chr(i) for i in ids)

    watch = StopWatch(decode, ("stop",))
    for i in range(2000):
        assert not watch.add(ord("a") + i % 3)
    assert max(asked) < 100
    asked.clear()
    assert [watch.add(ord(c)) for c in "stop"] == [False, False, False, True]
    assert max(asked) == 2004, "it is confirmed on the whole text"


def test_text_is_cut_before_the_first_stop() -> None:
    assert cut("a\nb;c", ("\n", ";")) == "a"
    assert cut("a;b\nc", ("\n", ";")) == "a"
    assert cut("abc", ("", "x")) == "abc"
