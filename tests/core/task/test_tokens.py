from __future__ import annotations

import pytest

from jobs_bench.task.tokens import bpe_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0.0),
        (" ", 0.0),
        ("zoo", 1.0),
        (" A", 1.0),
        ("The cat sat.", 4.0),
        ("2024", 4.0),
        ("a\n\nb", 3.0),
        ("photosynthesis", 1.9),
        ("3 + 4 = 7", 5.0),
        ("\u732b\u732b", 2.0),
        ("__init__", 3.0),
    ],
)
def test_pieces_are_counted(text: str, tokens: float) -> None:
    assert bpe_tokens(text) == pytest.approx(tokens)
