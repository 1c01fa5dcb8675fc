"""Finds bench folders and live studies below a root and reads them one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jobs_bench.errors import DataError, InputError
from jobs_bench.report.bench_folder import bench_folders, read_bench
from jobs_bench.report.board import Exclusion
from jobs_bench.report.live import read_live
from jobs_bench.report.runs import Bench, Run, Runs, sift
from jobs_bench.store.folder import study_folders


def collect(roots: Sequence[Path]) -> Runs:
    """Return every study at or below `roots`; those that cannot be read are excluded by name.

    Raises:
        InputError: A root is no folder, or there is no study at all.
    """
    runs: list[Run] = []
    excluded: list[Exclusion] = []
    benches: list[Bench] = []
    for root in roots:
        if not root.is_dir():
            raise InputError(f"{root}: no such folder; wanted bench folders or study folders in it")
        folders = bench_folders(root)
        for folder in folders:
            source = _below(folder, root, several=len(folders) > 1 or len(roots) > 1)
            try:
                bench, found = read_bench(folder, source)
            except DataError as err:
                reason = str(err).replace(f"{folder}/", "")
                excluded.append(Exclusion(source or folder.name, f"damaged: {reason}"))
                continue
            benches.append(bench)
            runs += found
        for study in study_folders(root):
            if any(folder in study.root.parents for folder in folders):
                continue  # a part of a bench, counted there
            found_one = read_live(study, _below(study.root, root, several=True))
            if isinstance(found_one, Run):
                runs.append(found_one)
            else:
                excluded.append(found_one)
    if not runs and not excluded:
        names = ", ".join(map(str, roots))
        raise InputError(
            f"{names}: no study at or below; wanted bench folders (jobs-bench bench) or study "
            "folders (jobs-bench run)"
        )
    return sift(runs, excluded, benches)


def _below(path: Path, root: Path, *, several: bool) -> str:
    if not several:
        return ""
    return path.resolve().name if path == root else path.relative_to(root).as_posix()
