"""Optional dependencies: strategies that wrap another package's method."""

from __future__ import annotations

import importlib
from types import ModuleType

from jobs_bench.errors import JobsBenchError


def wrapped(strategy: str, package: str) -> ModuleType:
    """Return the module `package`.

    Raises:
        JobsBenchError: It is not installed.
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as err:
        if err.name != package:
            raise
        raise JobsBenchError(
            f"{strategy} wraps the package {package}, which is not installed; "
            f'wanted: pip install "jobs-bench[{package}]"'
        ) from None
