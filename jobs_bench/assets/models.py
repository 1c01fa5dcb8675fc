"""From the name of a base model to its folder and its facts, without loading it.

A name is one of: a model that an installed package offers (entry points in `GROUP`, each a function
that returns a folder), a model that ``jobs-bench fetch`` gets, a local folder, or the id of a model
that the Hugging Face cache already holds.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from math import prod
from pathlib import Path
from typing import Final

from jobs_bench.assets.cache import models_dir
from jobs_bench.errors import DataError, MissingError, PluginError, UnknownNameError
from jobs_bench.task.contract import ModelFacts

GROUP: Final = "jobs_bench.models"
SMOLLM2: Final = "smollm2-135m"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_MAX_HEADER: Final = 100_000_000


def offered() -> dict[str, EntryPoint]:
    """Return the models that installed packages offer.

    Raises:
        PluginError: Two packages claim one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise PluginError(
                f"the model name {point.name!r} is claimed by {other.value} and {point.value}; "
                "uninstall one of the packages"
            )
    return found


def resolve(name: str) -> ModelFacts:
    """Return the facts of the model called `name`.

    Raises:
        MissingError: It is known, but not on this machine.
        UnknownNameError: Nothing of that name.
        PluginError: The package that offers it is broken.
        DataError: Its folder cannot be read.
    """
    points = offered()
    if name in points:
        return facts(_offered_folder(points[name]), name)
    if name == SMOLLM2:
        folder = models_dir() / SMOLLM2
        if not (folder / "config.json").is_file():
            raise MissingError(f"model {name!r} is not on this machine.", fetch_command(name))
        return facts(folder, name)
    local = Path(name).expanduser()
    if local.is_dir():
        return facts(local.resolve(), name)
    if _HUB_ID.fullmatch(name):
        return facts(_hub_folder(name), name)
    raise UnknownNameError("model (nor a folder)", name, [*points, SMOLLM2])


def fetch_command(name: str) -> str:
    """Return the command that gets model `name`."""
    return f"jobs-bench fetch {name}"


def _offered_folder(point: EntryPoint) -> Path:
    try:
        folder = Path(point.load()())
    except (ImportError, AttributeError, TypeError) as error:
        raise PluginError(
            f"model {point.name!r} could not be loaded from {point.value}: {error}"
        ) from error
    return folder


def _hub_folder(name: str) -> Path:
    # imported here: it takes long, and most names are no hub ids
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except (LocalEntryNotFoundError, OSError) as error:
        raise MissingError(
            f"model {name!r} is not in the Hugging Face cache of this machine.",
            fetch_command(name),
        ) from error
    if not (folder / "config.json").is_file():
        raise MissingError(
            f"model {name!r} is only partly in the Hugging Face cache.", fetch_command(name)
        )
    return folder


def facts(folder: Path, name: str) -> ModelFacts:
    """Return the facts of the model in `folder`, from its configuration and the weights' header.

    Raises:
        DataError: There is no readable ``config.json`` or no safetensors weights.
    """
    config = _read_config(folder / "config.json")
    shapes, digest = _weights(folder)
    path = folder / "config.json"
    hidden = _count(config, path, "hidden_size", "n_embd", "d_model")
    heads = _count(config, path, "num_attention_heads", "n_head", "num_heads")
    kv_heads = _count(config, path, "num_key_value_heads", default=heads)
    head_dim = _count(config, path, "head_dim", default=hidden // heads)
    if config.get("tie_word_embeddings", False):
        shapes = {n: s for n, s in shapes.items() if not n.endswith("lm_head.weight")}
    kept = {k: v for k, v in config.items() if k not in ("_name_or_path", "transformers_version")}
    digest.update(json.dumps(kept, sort_keys=True).encode())
    return ModelFacts(
        name=name,
        path=folder,
        digest=digest.hexdigest()[:32],
        n_layers=_count(config, path, "num_hidden_layers", "n_layer", "num_layers"),
        n_params=sum(prod(shape) for shape in shapes.values()),
        hidden=hidden,
        vocab=_count(config, path, "vocab_size"),
        context=_count(config, path, "max_position_embeddings", "n_positions", "n_ctx"),
        kv_width=kv_heads * head_dim,
        intermediate=_count(config, path, "intermediate_size", "n_inner", default=4 * hidden),
    )


def _read_config(path: Path) -> Mapping[str, object]:
    try:
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror}); wanted a model folder", path
        ) from error
    except ValueError as error:
        raise DataError(f"is not JSON ({error})", path) from error
    if not isinstance(config, dict):
        raise DataError(f"got {type(config).__name__}; wanted a JSON object", path)
    inner = config.get("text_config")  # models that also see keep the language part there
    return inner if isinstance(inner, dict) else config


def _count(
    config: Mapping[str, object], path: Path, *names: str, default: int | None = None
) -> int:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    if default is None:
        raise DataError(f"got no {' or '.join(names)}; wanted a number above 0", path)
    return default


def _weights(folder: Path) -> tuple[dict[str, tuple[int, ...]], hashlib._Hash]:
    """Return the shapes of all tensors, and a hash of headers and file sizes."""
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if index.is_file():
        named = _read_config(index).get("weight_map")
        if not isinstance(named, dict):
            raise DataError("got no weight_map; wanted one", index)
        files = sorted({folder / str(value) for value in named.values()})
    elif single.is_file():
        files = [single]
    if not files:
        raise DataError(
            "got no safetensors weights; wanted model.safetensors (pickled weights are never read: "
            "convert them with transformers)",
            folder,
        )
    shapes: dict[str, tuple[int, ...]] = {}
    digest = hashlib.sha256()
    for file in files:
        header = _header(file)
        digest.update(f"{file.stat().st_size}:".encode() + header)
        for name, entry in json.loads(header).items():
            if name != "__metadata__":
                shapes[name] = tuple(entry["shape"])
    return shapes, digest


def _header(file: Path) -> bytes:
    """Return the JSON header of a safetensors file.

    Raises:
        DataError: It is damaged, or shorter than its header says.
    """
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = opened.read(min(length, _MAX_HEADER))
        tensors = json.loads(header)
        ends = [e["data_offsets"][1] for n, e in tensors.items() if n != "__metadata__"]
        whole = 8 + length + max(ends)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", file) from error
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError("is no readable safetensors file", file) from error
    size = file.stat().st_size
    if size != whole:
        raise DataError(f"got {size} bytes; wanted {whole}, as its header says", file)
    return header
