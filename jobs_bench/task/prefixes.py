"""Which beginnings the rows of an evaluation share, so that each is computed once.

Two levels. The options of a question follow one *stem* and become the branches of a tree: one row
of the model in which a branch sees the stem and itself. Questions that begin alike (few-shot
examples) share a *trunk*, whose keys and values are kept while its trees are scored.

Rows are sequences of anything that can be compared: tokens where they are scored, characters where
costs are planned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

LEAST_TRUNK: Final = 24
"""Tokens that a trunk must have: below, a pass of its own costs more than it saves."""
LEAST_SHARE: Final = 0.1
"""Share of a question's tokens that branching must save: attention under a mask costs more."""

Items = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """The rows of one question.

    Attributes:
        stem: What its rows share, without the trunk.
        branches: What follows in each row; a single row is all stem and has one empty branch.
        rows: Number of the row behind each branch.
        first: First position that must be in the tree itself, counted from the row's beginning.
    """

    stem: Items
    branches: tuple[Items, ...]
    rows: tuple[int, ...]
    first: int

    @property
    def size(self) -> int:
        """Return the items that are computed for it."""
        return len(self.stem) + sum(len(b) for b in self.branches)


@dataclass(frozen=True, slots=True)
class Grove:
    """Trees on one trunk.

    Attributes:
        trunk: What all their rows share; may be empty.
        trees: At least one.
    """

    trunk: Items
    trees: tuple[Tree, ...]

    @property
    def size(self) -> int:
        """Return the items that are computed for it."""
        return len(self.trunk) + sum(t.size for t in self.trees)


def plan(
    rows: Sequence[Items],
    firsts: Sequence[int],
    families: Sequence[int],
    least_trunk: int = LEAST_TRUNK,
) -> list[Grove]:
    """Return groves that hold every row once.

    Args:
        rows: Different from one another, none empty.
        firsts: For each row the first position whose output is needed; never in a trunk.
        families: For each row the question that it belongs to.
        least_trunk: Shortest trunk worth a pass of its own.
    """
    by_family: dict[int, list[int]] = {}
    for i, family in enumerate(families):
        by_family.setdefault(family, []).append(i)
    trees = [t for members in by_family.values() for t in _trees(rows, firsts, members)]
    trees.sort(key=lambda t: (t.stem, t.branches))
    return [_grove(group, length) for group, length in _groups(trees, least_trunk)]


def _trees(rows: Sequence[Items], firsts: Sequence[int], members: Sequence[int]) -> list[Tree]:
    shared = _common([rows[i] for i in members]) if len(members) > 1 else 0
    total = sum(len(rows[i]) for i in members)
    if shared * (len(members) - 1) < LEAST_SHARE * total or len(members) == 1:
        return [Tree(rows[i], ((),), (i,), firsts[i]) for i in members]
    stem = rows[members[0]][:shared]
    first = min(firsts[i] for i in members)
    return [Tree(stem, tuple(rows[i][shared:] for i in members), tuple(members), first)]


def _groups(trees: Sequence[Tree], least: int) -> list[tuple[list[Tree], int]]:
    """Return runs of `trees`, sorted by stem, with the length of the trunk each is to have.

    A tree joins the run before it while that saves more than leaving the run as it is.
    """
    found: list[tuple[list[Tree], int]] = []
    for tree in trees:
        if found:
            group, length = found[-1]
            alone = min(length, tree.first, len(tree.stem))
            joint = _common([group[-1].stem[:alone], tree.stem[:alone]])
            if joint >= least and len(group) * joint >= (len(group) - 1) * length:
                group.append(tree)
                found[-1] = (group, joint)
                continue
        found.append(([tree], min(tree.first, len(tree.stem))))
    return [(group, length if len(group) > 1 else 0) for group, length in found]


def _grove(trees: Sequence[Tree], length: int) -> Grove:
    trunk = trees[0].stem[:length]
    return Grove(trunk, tuple(replace(t, stem=t.stem[length:]) for t in trees))


def _common(rows: Sequence[Items]) -> int:
    """Return how many items all `rows` begin with: as many as the least and the greatest do."""
    low, high = min(rows), max(rows)
    pairs = enumerate(zip(low, high, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(low), len(high)))
