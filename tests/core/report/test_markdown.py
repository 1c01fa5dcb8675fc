from __future__ import annotations

import pytest

from jobs_bench.report.html import breakable
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


def test_long_specs_can_be_broken_and_stay_escaped() -> None:
    assert breakable("synthetic?a=1&b=<i>") == "synthetic?<wbr>a=1&amp;<wbr>b=&lt;i&gt;"
    assert breakable("mean rank") == "mean rank"
