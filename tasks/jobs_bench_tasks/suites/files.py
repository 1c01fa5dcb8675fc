"""Where the suite files are; each function is an entry point of ``jobs_bench.suites``."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def dev() -> Path:
    """Return the suite on which defaults of strategies may be tuned."""
    return FOLDER / "dev.yaml"


def test() -> Path:
    """Return the suite that is reported; nothing may be tuned on it."""
    return FOLDER / "test.yaml"


def smoke() -> Path:
    """Return the suite of continuous integration: seconds."""
    return FOLDER / "smoke.yaml"


def synthetic() -> Path:
    """Return the suite of analytic problems with known optima."""
    return FOLDER / "synthetic.yaml"
