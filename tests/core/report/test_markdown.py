from __future__ import annotations

import pytest

from jobs_bench.report.markdown import code


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("plain_name", "`plain_name`"),
        ("a|b", "`a\\|b`"),
        ("a`b", "``a`b``"),
        ("`", "`` ` ``"),
        ("a\nb", "`a b`"),
        ("", "`  `"),
    ],
)
def test_code_spans_hold_any_text(text: str, span: str) -> None:
    assert code(text) == span
