"""Plans of shared beginnings: nothing is lost, nothing that is needed is hidden in a trunk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobs_bench.task.prefixes import Grove, plan

ROW = st.lists(st.integers(0, 2), min_size=1, max_size=12).map(tuple)


def _rows_of(grove: Grove) -> dict[int, tuple[int, ...]]:
    return {
        row: (*grove.trunk, *tree.stem, *branch)
        for tree in grove.trees
        for row, branch in zip(tree.rows, tree.branches, strict=True)
    }


@given(st.lists(ROW, min_size=1, max_size=12, unique=True), st.data())
def test_every_row_is_there_once_and_whole(
    rows: list[tuple[int, ...]], data: st.DataObject
) -> None:
    firsts = [data.draw(st.integers(0, len(r) - 1)) for r in rows]
    families = [data.draw(st.integers(0, 3)) for _ in rows]
    groves = plan(rows, firsts, families, least_trunk=2)
    assert sorted(i for g in groves for i in _rows_of(g)) == list(range(len(rows)))
    for grove in groves:
        for i, row in _rows_of(grove).items():
            assert row == rows[i]
            assert len(grove.trunk) <= firsts[i]
        assert not grove.trunk or len(grove.trees) > 1
        for tree in grove.trees:
            assert len({families[i] for i in tree.rows}) == 1
    assert sum(g.size for g in groves) <= sum(len(r) for r in rows)


def test_options_are_branches_and_examples_a_trunk() -> None:
    shots = tuple(range(100, 140))
    questions = {0: (1, 2, 3), 1: (1, 4, 5)}
    rows = [(*shots, *q, o, o) for q in questions.values() for o in (7, 8)]
    (grove,) = plan(rows, [43] * 4, [0, 0, 1, 1])
    assert grove.trunk == (*shots, 1)
    assert [t.stem for t in grove.trees] == [(2, 3), (4, 5)]
    assert [t.branches for t in grove.trees] == [((7, 7), (8, 8))] * 2
    assert grove.size == 41 + 2 * (2 + 4)


def test_subjects_keep_their_own_examples() -> None:
    """A few common words do not make one trunk of two long ones."""
    a, b = (9, *range(100, 140)), (9, *range(200, 240))
    rows = [(*a, 1), (*a, 2), (*b, 1), (*b, 2)]
    groves = plan(rows, [41] * 4, [0, 1, 2, 3])
    assert sorted(g.trunk for g in groves) == [a, b]


def test_what_saves_little_stays_apart() -> None:
    rows = [(1, *range(10, 60)), (1, *range(60, 110))]
    groves = plan(rows, [5, 5], [0, 0])
    assert [g.trunk for g in groves] == [(), ()]
    assert all(len(t.branches) == 1 for g in groves for t in g.trees)
