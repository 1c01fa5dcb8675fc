"""Where the embedded model lies."""

from __future__ import annotations

from pathlib import Path


def path() -> Path:
    """Return the folder of the embedded model."""
    return Path(__file__).parent / "model"
