"""Every error the package raises on purpose.

Each message says what was got, what was wanted, and what exists; each class carries the same as
attributes. `InputError` and its children are the user's to mend: the command line prints their one
line and exits with status 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class JobsBenchError(Exception):
    """Base class: catch this to catch any of ours."""


class InputError(JobsBenchError):
    """Something the user gave is wrong or missing; nothing was lost."""


class UnknownNameError(InputError):
    """A name that is not among the known ones.

    Attributes:
        kind: What was being named, such as ``"strategy"``.
        name: What was got.
        known: What exists.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.known = tuple(sorted(known))
        near = difflib.get_close_matches(name, self.known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        there = ", ".join(self.known) or "none"
        super().__init__(f"no {kind} named {name!r}{hint} There are: {there}")


class OptionError(InputError):
    """An option of a strategy, task or command that does not exist or cannot have that value."""


class PluginError(InputError):
    """A plug-in could not be found, loaded or trusted."""


class SpaceError(InputError):
    """A value outside its axis, or a search space that cannot be."""


class BudgetError(InputError):
    """A budget that cannot be read, or cannot pay for a single segment."""


class DataError(InputError):
    """A data file that cannot be read as its format says.

    Attributes:
        path: The file.
        line: Line number from 1, or ``None`` where no single line is at fault.
    """

    def __init__(self, message: str, path: Path | None = None, line: int | None = None) -> None:
        self.path = path
        self.line = line
        where = "" if path is None else f"{path}{'' if line is None else f':{line}'}: "
        super().__init__(where + message)


class MissingError(InputError):
    """A model or data set that is not on this machine.

    Attributes:
        command: The command that gets it.
    """

    def __init__(self, message: str, command: str) -> None:
        self.command = command
        super().__init__(f"{message} Get it with: {command}")


class FetchError(InputError):
    """A download failed or did not hold what it should."""


class CapabilityError(InputError):
    """A strategy needs what the task cannot give."""


class JournalError(InputError):
    """A study folder whose journal was edited, damaged, or belongs to something else."""


class ScaleError(InputError):
    """A frozen reference of a task that is missing, cannot be read or is no scale."""


class ContractError(JobsBenchError):
    """A plug-in broke its contract: the plug-in is at fault, not the user."""


class StorageError(InputError):
    """The disk is full or cannot be written; what was written before is safe."""


class WorkerError(JobsBenchError):
    """A worker process could not be started or answered nonsense."""
