"""Tables of a study for pandas: derived from its journal, always rebuildable.

Every table begins with the columns ``study, strategy, task, seed``. A trial's configuration is
spread over columns under the names of its axes, a mixture over ``mixture.<domain>``; an axis whose
name is taken by another column becomes ``config.<name>``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from jobs_bench.store.codec import Event
from jobs_bench.store.derived_rows import TABLES, arrow_tables, study_name
from jobs_bench.store.folder import Manifest, StudyFolder
from jobs_bench.store.journal import read

__all__ = ["TABLES", "derive", "study_name", "tables", "write"]

SCHEMA: Final = 1
"""Version of the tables; others are made anew."""

_FACTS: Final = ("made_from", "version")


def derive(folder: StudyFolder) -> dict[str, pd.DataFrame]:
    """Return the tables of a study, read from its journal.

    Raises:
        JournalError: The manifest or the journal is missing or damaged.
    """
    return tables(folder.manifest(), read(folder.events).events)


def tables(manifest: Manifest, events: Sequence[Event]) -> dict[str, pd.DataFrame]:
    """Return one frame for each of `TABLES`.

    ``spent`` is in the budget's currency: in ``points`` and ``segments`` everything the study had
    spent when the outcome was told, in ``trials`` what the trial cost. In ``points`` the metric
    ``score`` is the one that was searched with (higher is better), the others go by their own names
    and directions, and ``loss.<domain>`` is a domain's loss.
    """
    return {name: t.to_pandas() for name, t in arrow_tables(manifest, events).items()}


def write(
    folder: StudyFolder, manifest: Manifest, events: Sequence[Event], fingerprint: str
) -> bool:
    """Write the tables to ``derived/<table>.parquet``, each there whole or not at all.

    Args:
        folder: Of the study.
        manifest: Of the study.
        events: Its journal.
        fingerprint: Hash of the journal; tables that were made from the same are left as they are.

    Returns:
        Whether anything had to be written.
    """
    made_from = hashlib.sha256(f"{fingerprint}{manifest!r}".encode()).hexdigest()
    facts = dict(zip(_FACTS, (made_from, str(SCHEMA)), strict=True))
    if all(_facts(folder.derived / f"{name}.parquet") == facts for name in TABLES):
        return False
    folder.derived.mkdir(exist_ok=True)
    for name, table in arrow_tables(manifest, events, facts).items():
        path = folder.derived / f"{name}.parquet"
        temporary = path.with_name(path.name + ".tmp")
        pq.write_table(table, temporary)
        temporary.replace(path)
    return True


def _facts(path: Path) -> dict[str, str]:
    """Return what a file of ours says it was made from; nothing where it cannot be read."""
    try:
        told = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return {}
    return {name: told.get(name.encode(), b"").decode() for name in _FACTS}
