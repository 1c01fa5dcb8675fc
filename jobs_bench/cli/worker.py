"""A worker process: builds one task's evaluator, then answers one message a line.

Started by `jobs_bench.runner.local` as ``python -m jobs_bench.cli.worker``. Standard output belongs
to the protocol; whatever a library prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from jobs_bench.cli.compose import Bench, BenchSpec
from jobs_bench.errors import JobsBenchError, StorageError
from jobs_bench.space.configuration import Configuration
from jobs_bench.store.codec import outcome_to_json, segment_from_json
from jobs_bench.task.contract import Evaluator
from jobs_bench.trial import Outcome, Segment

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask Linux to end this process with its parent, so that no orphan goes on training."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Worker:
    """Answers messages."""

    def __init__(self, hello: dict[str, Any]) -> None:
        import torch  # here: a worker that cannot start says why without it

        torch.set_num_threads(int(hello["threads"]))
        self._bench = Bench(BenchSpec.from_json(hello["bench"]))
        self._evaluators: dict[str, Evaluator] = {}

    def answer(self, message: dict[str, Any]) -> Outcome:
        """Return the outcome that a message asks for."""
        evaluator = self._evaluator(message["workdir"])
        if message["op"] == "run":
            return evaluator.run([segment_from_json(message["segment"])])[0]
        if message["op"] == "oracle":
            plain = message["config"]
            config = None if plain is None else Configuration.from_json(plain)
            return evaluator.oracle(config, [int(message["seed"])])[0]
        trial_id = int(message["trial"])
        evaluator.discard(trial_id)
        return Outcome(Segment(trial_id, Configuration(), 0, 0, 0), "ok", (), ())

    def _evaluator(self, workdir: str) -> Evaluator:
        if workdir not in self._evaluators:
            self._evaluators.clear()  # one study at a time: let the last one's go
            self._evaluators[workdir] = self._bench.evaluator(Path(workdir))
        return self._evaluators[workdir]


def main() -> int:
    """Serve until standard input ends."""
    die_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    worker: Worker | None = None
    for line in sys.stdin:
        message = json.loads(line)
        answer: dict[str, Any]
        if worker is None:
            try:
                worker = Worker(message)
                answer = {"ready": True}
            except JobsBenchError as err:
                answer = {"error": str(err)}
        else:
            try:
                answer = {"outcome": outcome_to_json(worker.answer(message), seconds=True)}
            except JobsBenchError as err:
                answer = {"error": str(err), "storage": isinstance(err, StorageError)}
        out.write(json.dumps(answer) + "\n")
        out.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
