"""The user cache: where it is, and how a folder gets into it whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs_bench.errors import FetchError
from jobs_bench.task.sources import CACHE_VARIABLE, cache_root, checked_name


def models_dir() -> Path:
    """Return the folder of fetched models, one folder each."""
    return cache_root() / "models"


def data_dir() -> Path:
    """Return the folder of fetched data sets, one folder each."""
    return cache_root() / "data"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target` that takes its place when all went well.

    What was at `target` stays until then; a failure, an interrupt or a full disk leaves it as it
    was and removes the new folder.

    Raises:
        FetchError: The folder cannot be written, such as on a full disk.
    """
    checked_name("cache entry", target.name)
    building: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        yield building
        building.chmod(0o755)
        _swap(building, target)
    except OSError as error:
        raise _write_error(target, error) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)


def _swap(building: Path, target: Path) -> None:
    """Put `building` in the place of `target`."""
    old = building.with_name(f"{building.name}-old")
    if target.exists():
        target.rename(old)
    try:
        building.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_error(target: Path, error: OSError) -> FetchError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(_existing(target)).free / 1e9
        return FetchError(
            f"the disk of {target.parent} is full ({free:.2f} GB left); nothing was kept. Make "
            f"room, or name another folder in {CACHE_VARIABLE}"
        )
    reason = error.strerror or str(error)
    return FetchError(
        f"cannot write {target} ({reason}); nothing was kept. Name another folder in "
        f"{CACHE_VARIABLE}"
    )


def _existing(path: Path) -> Path:
    return next((p for p in (path, *path.parents) if p.exists()), Path(os.sep))
