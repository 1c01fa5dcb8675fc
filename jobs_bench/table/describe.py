"""What there is to know of a table at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs_bench.table.surrogate import MIN_TAU, read_all
from jobs_bench.table.table import read_table


def describe(folder: Path) -> dict[str, Any]:
    """Return plain facts about the table in `folder`.

    Raises:
        DataError: It cannot be read.
    """
    table = read_table(folder)
    header, trials = table.header, table.trials
    first = trials.drop_duplicates("config")
    return {
        "name": header.name,
        "summary": header.summary,
        "licence": header.licence,
        "reference": header.reference,
        "signature": table.signature,
        "configurations": len(first),
        "parts": {str(p): int(n) for p, n in first["part"].value_counts(sort=False).items()},
        "trials": len(trials),
        "seeds": int(trials["seed"].nunique()),
        "states": {str(s): int(n) for s, n in trials["status"].value_counts(sort=False).items()},
        "points": len(table.points),
        "steps": list(header.fidelity.steps),
        "domains": [name for name, _ in header.domains],
        "axes": list(header.space.names),
        "targets": {
            t.name: f"{t.metric}, oracle {t.oracle or t.metric}"
            + (f", recorded from {t.task}" if t.task else "")
            for t in header.targets
        },
        "full_run_s": header.full_run_s,
        "surrogates": {
            f"{f.target} {f.part}": {
                "configurations": f.configs,
                "held_out_tau": {str(q.step): q.tau for q in f.held_out},
                "held_out_r2": {str(q.step): q.r2 for q in f.held_out},
                "oracle_tau": f.oracle_tau,
                "loads": f.signature == table.signature and f.held_out[-1].tau >= MIN_TAU,
            }
            for f in read_all(folder)
        },
        "provenance": dict(header.provenance),
    }
