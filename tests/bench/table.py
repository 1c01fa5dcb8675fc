"""Print the races of a pytest-benchmark record as Markdown.

pytest tests/bench/test_gp.py --benchmark-json=race.json && python tests/bench/table.py race.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def table(record: dict[str, Any]) -> str:
    """Return the races of a record, a row each."""
    lines = [
        f"{record['machine_info']['cpu'].get('brand_raw', '?')}, {record['datetime']}",
        "",
        "| what | ours, ms | peer, ms | ratio (medians) | ratio (best) | achieved | share |",
        "|---|---|---|---|---|---|---|",
    ]
    for info in (run["extra_info"] for run in record["benchmarks"]):
        if "what" not in info or "ratio" not in info:
            continue
        rate = f"{info['achieved'] / 1e9:.1f} {info['unit']}" if "share" in info else ""
        share = f"{info['share']:.0%}" if "share" in info else ""
        lines.append(
            f"| {info['what']} | {info['ours_ms']:.4g} | {info['peer_ms']:.4g} "
            f"| {info['ratio']:.1f} | {info['ratio_best']:.1f} | {rate} | {share} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table(json.loads(Path(sys.argv[1]).read_text())))
