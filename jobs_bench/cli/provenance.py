"""What a study ran on: versions, kind of machine, native operators."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "jobs-bench",
    "torch",
    "transformers",
    "peft",
    "botorch",
    "gpytorch",
    "numpy",
    "pandas",
)


def versions() -> dict[str, str]:
    """Return versions of Python and the packages that results depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def hardware() -> dict[str, Any]:
    """Return the kind of machine, without its name: cores, memory, accelerator."""
    import torch  # slow to import: not for commands that only list

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 1,
        "memory_gib": round(_memory_bytes() / 2**30),
        "gpu": gpu,
        "gpus": torch.cuda.device_count() if gpu else 0,
    }


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
