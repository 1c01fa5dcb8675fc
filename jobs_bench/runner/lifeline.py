"""No orphans: a process that ends with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None = None) -> None:
    """Ask Linux to end this process with its parent, so that no orphan goes on training.

    The parent is the *thread* that started the process: it has to live as long as the process is
    wanted.

    Args:
        parent: Process id that the parent must have; where it has ended before Linux was asked,
            this process ends now. ``None``: whoever it is.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os._exit(1)
