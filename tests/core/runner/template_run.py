"""A run with forked workers, to be killed: ``python template_run.py HELLO TEMPLATE...``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from jobs_bench.runner.local import LocalExecutor, WorkerPool
from jobs_bench.space.configuration import Configuration
from jobs_bench.trial import Segment

if __name__ == "__main__":
    hello = json.loads(sys.argv[1])
    folder = Path(hello["pids"]).parent
    pool = WorkerPool(["/no/such"], hello, 2, folder / "logs", template=sys.argv[2:])
    executor = LocalExecutor(pool, folder / "work")
    segments = [Segment(i, Configuration(), 0, 8, i) for i in range(2)]
    executor.launch(segments)
    for segment in segments:
        executor.wait(segment)
