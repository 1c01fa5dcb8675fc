"""``table``: any recorded table as a task, by name or by folder."""

from __future__ import annotations

from typing import ClassVar, Literal

from jobs_bench.table.find import cached_table, locate, stored_surrogate
from jobs_bench.table.surrogate import Surrogate
from jobs_bench.table.task import TableTask
from jobs_bench.task.contract import TaskSetup


class RecordedTable(TableTask):
    """A recorded table.

    Args:
        setup: Of the runtime; a table needs neither a model nor data.
        name: Of a table in ``results/tables`` or a folder of ``JOBS_BENCH_TABLES``.
        path: Folder of a table, instead of a name.
        target: Which of its targets; may be left out where there is one only.
        kind: ``pool``: the recorded configurations; ``surrogate``: any of the space.
        part: ``dev``, ``test`` or ``all``.
    """

    default_model: ClassVar[str | None] = None

    def __init__(
        self,
        setup: TaskSetup,
        *,
        name: str = "",
        path: str = "",
        target: str = "",
        kind: Literal["pool", "surrogate"] = "pool",
        part: str = "all",
    ) -> None:
        del setup
        folder = locate(name, path)
        table = cached_table(folder)
        fitted = None
        if kind == "surrogate":
            wanted = table.header.target(target)
            fitted = Surrogate(table, wanted, stored_surrogate(folder, wanted.name, part))
        super().__init__(table, target, kind, part, fitted)
