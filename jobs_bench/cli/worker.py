"""A worker process: builds one task's evaluator, then answers one message a line.

Started by `jobs_bench.runner.local` as ``python -m jobs_bench.cli.worker``. Standard output belongs
to the protocol; whatever a library prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from jobs_bench.cli.compose import Bench, BenchSpec
from jobs_bench.errors import JobsBenchError, StorageError
from jobs_bench.runner.executor import answer
from jobs_bench.runner.lifeline import die_with_parent
from jobs_bench.space.configuration import Configuration
from jobs_bench.store.codec import outcome_to_json, segment_from_json
from jobs_bench.task.contract import Evaluator
from jobs_bench.trial import Outcome, Segment


class Worker:
    """Answers messages."""

    def __init__(self, hello: dict[str, Any]) -> None:
        import torch  # here: a worker that cannot start says why without it

        torch.set_num_threads(int(hello["threads"]))
        self._bench = Bench(BenchSpec.from_json(hello["bench"]), hello["pack"])
        self._evaluators: dict[str, Evaluator] = {}

    def warm(self) -> None:
        """Load what every trial needs."""
        self._bench.warm()

    def leave_template(self, threads: int) -> None:
        """Be a process of one's own after a fork, as if started by itself, with `threads`."""
        import numpy as np
        import torch

        torch.set_num_threads(threads)
        np.random.seed()  # noqa: NPY002  # siblings must not share what a fresh process draws

    def answer(self, messages: Sequence[dict[str, Any]]) -> list[Outcome]:
        """Return the outcomes that messages of one kind, for one study, ask for.

        Several ``oracle`` messages are of one configuration.
        """
        first = messages[0]
        evaluator = self._evaluator(first["workdir"])
        if first["op"] == "run":
            return list(evaluator.run([segment_from_json(m["segment"]) for m in messages]))
        if first["op"] == "oracle":
            plain = first["config"]
            config = None if plain is None else Configuration.from_json(plain)
            controller = str(first.get("controller", ""))
            return list(answer(evaluator, config, [int(m["seed"]) for m in messages], controller))
        for message in messages:
            evaluator.discard(int(message["trial"]))
        nothing = (Segment(int(m["trial"]), Configuration(), 0, 0, 0) for m in messages)
        return [Outcome(segment, "ok", (), ()) for segment in nothing]

    def _evaluator(self, workdir: str) -> Evaluator:
        if workdir not in self._evaluators:
            self._evaluators.clear()  # one study at a time: let the last one's go
            self._evaluators[workdir] = self._bench.evaluator(Path(workdir))
        return self._evaluators[workdir]


def serve(make: Callable[[dict[str, Any]], Worker], lines: Iterable[str], out: TextIO) -> None:
    """Answer each line; the first one is what a worker is made from."""
    worker: Worker | None = None
    for line in lines:
        message = json.loads(line)
        answer: dict[str, Any]
        if worker is None:
            try:
                worker = make(message)
                answer = {"ready": True}
            except JobsBenchError as err:
                answer = {"error": str(err)}
        else:
            try:
                several = message["op"] == "batch"
                outcomes = worker.answer(message["of"] if several else [message])
                told = [outcome_to_json(o, seconds=True) for o in outcomes]
                answer = {"outcomes": told} if several else {"outcome": told[0]}
            except JobsBenchError as err:
                answer = {"error": str(err), "storage": isinstance(err, StorageError)}
        out.write(json.dumps(answer) + "\n")
        out.flush()


def main() -> int:
    """Serve until standard input ends."""
    die_with_parent()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    serve(Worker, sys.stdin, out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
