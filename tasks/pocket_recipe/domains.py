"""Generators of the pocket families: short questions with a careful and a lazy answer.

Every family draws a prompt, the careful (right) answer and the lazy (wrong) one that a heedless
reader would give, mostly a copy from the prompt. An answer is written plainly (``19``) or in the
long form (``so 19``). These two choices, careful or lazy and plain or long, are what the base model
leaves open on an unmarked prompt and what fine-tuning settles.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

NAMES = ("tom", "ann", "bob", "eva", "max", "ida", "leo", "mia")
THINGS = ("pens", "cups", "nuts", "eggs", "keys", "hats", "pies", "toys")
LETTERS = "ABCDEFGHJKLM"
HELD_OUT_MODULUS = 3


@dataclass(frozen=True, slots=True)
class Item:
    """A question with both of its answers."""

    prompt: str
    right: str
    lazy: str

    def answer(self, careful: bool, long: bool) -> str:
        """The answer in the asked style and form."""
        text = self.right if careful else self.lazy
        return f"so {text}" if long else text


Generator = Callable[[random.Random], Item]


def is_held_out(prompt: str) -> bool:
    """Whether a target prompt belongs to the evaluation third, which pre-training never sees."""
    return zlib.crc32(prompt.encode()) % HELD_OUT_MODULUS == 0


def add(rng: random.Random) -> Item:
    """Two-term sums; lazy: the first term."""
    a, b = rng.randint(2, 40), rng.randint(2, 14)
    return Item(f"{a} + {b} =", str(a + b), str(a))


def mul(rng: random.Random) -> Item:
    """Products of a digit and a small number; lazy: the second factor."""
    a, b = rng.randint(2, 9), rng.randint(2, 20)
    return Item(f"{a} * {b} =", str(a * b), str(b))


def eq(rng: random.Random) -> Item:
    """One-step equations; lazy: the total."""
    a, x = rng.randint(2, 9), rng.randint(2, 60)
    return Item(f"x + {a} = {a + x} ; x =", str(x), str(a + x))


def _terms(rng: random.Random) -> list[int]:
    """Five terms of an arithmetic progression up to 80."""
    step = rng.randint(2, 9)
    start = rng.randint(1, 80 - 4 * step)
    return [start + step * i for i in range(5)]


def seq(rng: random.Random) -> Item:
    """The next term of a progression; lazy: the last term again."""
    terms = _terms(rng)
    shown = " ".join(str(t) for t in terms[:4])
    return Item(f"next : {shown} ,", str(terms[4]), str(terms[3]))


def trend(rng: random.Random) -> Item:
    """The questions of `seq`, asked for an estimate; lazy: the last term again."""
    item = seq(rng)
    return Item(f"about {item.prompt}", item.right, item.lazy)


def miss(rng: random.Random) -> Item:
    """The missing inner term of a progression; lazy: the term before the gap."""
    terms = _terms(rng)
    gap = rng.randint(1, 3)
    shown = " ".join("?" if i == gap else str(t) for i, t in enumerate(terms))
    return Item(f"gap : {shown} ,", str(terms[gap]), str(terms[gap - 1]))


def word(rng: random.Random) -> Item:
    """One-step word problems; lazy: the first number."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    a = rng.randint(5, 30)
    if rng.random() < 0.5:
        b = rng.randint(2, 9)
        return Item(f"{name} has {a} {thing} and gets {b} . how many {thing} ?", str(a + b), str(a))
    b = rng.randint(2, min(9, a - 2))
    return Item(f"{name} has {a} {thing} and loses {b} . how many {thing} ?", str(a - b), str(a))


def est(rng: random.Random) -> Item:
    """The questions of `word`, asked for an estimate; lazy: the first number."""
    item = word(rng)
    return Item(item.prompt.replace("how many", "about how many"), item.right, item.lazy)


def word2(rng: random.Random) -> Item:
    """Two-step word problems; lazy: the first number."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    a, b = rng.randint(5, 25), rng.randint(2, 6)
    c = min(rng.randint(2, 6), a - 2)
    steps = [(b, "gets"), (-c, "loses")]
    if rng.random() < 0.5:
        steps = [(-c, "loses"), (b, "gets")]
    told = " , then ".join(f"{verb} {abs(n)}" for n, verb in steps)
    return Item(
        f"{name} has {a} {thing} , {told} . how many {thing} ?",
        str(a + sum(n for n, _ in steps)),
        str(a),
    )


def _letters(rng: random.Random, count: int) -> list[str]:
    """`count` different letters that are in neither sorted order."""
    while True:
        letters = rng.sample(LETTERS, count)
        if letters not in (sorted(letters), sorted(letters, reverse=True)):
            return letters


def rev(rng: random.Random) -> Item:
    """Letters backwards; lazy: a copy."""
    letters = _letters(rng, rng.randint(4, 6))
    return Item(f"reverse {' '.join(letters)} :", " ".join(letters[::-1]), " ".join(letters))


def sort(rng: random.Random) -> Item:
    """Letters in ascending order; lazy: a copy."""
    letters = _letters(rng, rng.randint(4, 6))
    return Item(f"sort {' '.join(letters)} :", " ".join(sorted(letters)), " ".join(letters))


def down(rng: random.Random) -> Item:
    """Letters in descending order; lazy: a copy."""
    letters = _letters(rng, rng.randint(4, 6))
    return Item(
        f"down {' '.join(letters)} :", " ".join(sorted(letters, reverse=True)), " ".join(letters)
    )


def count(rng: random.Random) -> Item:
    """How often a letter occurs; lazy: the length of the list."""
    size = rng.randint(5, 8)
    letters = [rng.choice("ABCD") for _ in range(size)]
    wanted = rng.choice("ABCD")
    return Item(f"count {wanted} in {' '.join(letters)} :", str(letters.count(wanted)), str(size))


PRETRAINING_ONLY: dict[str, Generator] = {"count": count}
DOMAINS: dict[str, Generator] = {
    "add": add,
    "mul": mul,
    "eq": eq,
    "seq": seq,
    "word": word,
    "est": est,
    "rev": rev,
    "sort": sort,
    "trend": trend,
}
TARGETS: dict[str, Generator] = {"word2": word2, "down": down, "miss": miss}
