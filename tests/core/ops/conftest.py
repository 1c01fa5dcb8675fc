"""What the tests of operators share: native kernels, or a reason to skip."""

from __future__ import annotations

import pytest

from jobs_bench import ops


@pytest.fixture
def native() -> None:
    """Skip where the compiled CPU operators are not there."""
    if "CPU" not in ops.native_backends():
        pytest.skip(f"no native CPU kernel: {ops.why_no_native}")
