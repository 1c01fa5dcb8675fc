"""A template process: a worker that has imported and loaded everything, to be forked.

Started by `jobs_bench.runner.template` as ``python -m jobs_bench.cli.template``; its standard input
is the socket of `jobs_bench.runner.forking`.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import sys
import threading
import traceback
from typing import Any, TextIO

from tqdm import tqdm

from jobs_bench.cli.worker import Worker, serve
from jobs_bench.errors import JobsBenchError
from jobs_bench.runner.forking import MESSAGE_BYTES, serve_forks
from jobs_bench.runner.lifeline import die_with_parent


def stay_forkable() -> None:
    """Start no thread, which a fork would lose, and leave pages alone that workers are to share."""
    gc.disable()  # a collection would write to all of them
    # tokenizers' threads, those of transformers while it loads, and what watches tqdm's bars
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_DEACTIVATE_ASYNC_LOAD": "1"}
    tqdm.monitor_interval = 0


def _prepared(hello: dict[str, Any]) -> Worker:
    """Return a worker with everything loaded that trials of its task need, on one thread.

    Raises:
        JobsBenchError: A worker that is started by itself would not start either.
    """
    worker = Worker({**hello, "threads": 1})  # an OpenMP team would be lost in a fork
    try:
        worker.warm()
    except Exception:  # not the template's to tell: its workers meet the same, and tell it
        traceback.print_exc()
    return worker


def main() -> int:
    """Build a worker, then fork as many as are asked for."""
    die_with_parent()
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  # a device, not a path
        os.dup2(nothing.fileno(), 0)
    stay_forkable()
    hello = json.loads(control.recv(MESSAGE_BYTES))
    answer: dict[str, Any] = {"ready": True}
    worker: Worker | None = None
    try:
        worker = _prepared(hello)
    except JobsBenchError as err:
        answer = {"error": str(err)}
    others = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    if others and worker is not None:
        answer = {"alone": f"the task left threads behind: {', '.join(others)}"}
    control.sendall(json.dumps(answer).encode())
    if worker is None or "ready" not in answer:
        return 0
    gc.freeze()
    made = worker

    def body(out: TextIO) -> None:
        gc.enable()
        sys.stdout = sys.stderr  # standard output belongs to the protocol
        made.leave_template(int(hello["threads"]))
        serve(lambda _: made, sys.stdin, out)

    serve_forks(control, body)
    return 0


if __name__ == "__main__":
    sys.exit(main())
