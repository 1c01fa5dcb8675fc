"""One worker as the pool sees it: messages out, answers in, and how it ended."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from jobs_bench.errors import WorkerError

ANSWERS = ("ready", "outcome", "outcomes", "error")


class Process(Protocol):
    """What a worker process must offer; `subprocess.Popen` does."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """Return its input."""
        ...

    @property
    def stdout(self) -> IO[bytes] | None:
        """Return its output."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, ``-signal`` where one killed it.

        Raises:
            TimeoutExpired: It has not ended within `timeout` seconds.
        """
        ...

    def kill(self) -> None:
        """End it now."""
        ...


def start_alone(command: Sequence[str], log: Path, env: Mapping[str, str] | None) -> Process:
    """Start a worker with a command; what it writes to standard error goes to `log`.

    Raises:
        WorkerError: There is no such command.
    """
    try:
        with log.open("ab") as errors:
            return subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=None if env is None else dict(env),
                start_new_session=True,  # Ctrl-C is for the study: it ends its workers itself
            )
    except OSError as err:
        raise WorkerError(f"a worker could not start: {err}") from err


class WorkerProcess:
    """A worker that speaks the protocol: JSON, one object a line.

    Args:
        process: Started already.
        log: Where it writes its standard error.
    """

    def __init__(self, process: Process, log: Path) -> None:
        self._process = process
        self._log = log
        self._nonsense = b""
        self.timed_out = False

    def greet(self, hello: Mapping[str, Any]) -> None:
        """Send the first message and wait until the worker is ready.

        Raises:
            WorkerError: It cannot start.
        """
        answer = self.call(hello, None)
        if answer is None or "error" in answer:
            detail = self.obituary() if answer is None else answer["error"]
            raise WorkerError(f"a worker could not start: {detail}")

    def call(self, message: Mapping[str, Any], timeout_s: float | None) -> dict[str, Any] | None:
        """Send a message and return the answer; ``None`` when the process died or was too slow."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        timer = None
        if timeout_s is not None:
            timer = threading.Timer(timeout_s, self._expire)
            timer.start()
        try:
            _send(stdin, message)
            line = stdout.readline()
        except (OSError, ValueError):  # it died, or its time was over and the pipes are closed
            return None
        finally:
            if timer is not None:
                timer.cancel()
        if not line.endswith(b"\n"):
            return None
        answer = _receive(line)
        if answer is None:
            self._nonsense = line[:200].rstrip()
        return answer

    def _expire(self) -> None:
        self.timed_out = True
        self.kill()

    def obituary(self) -> str:
        """Return how the process ended, with the end of what it wrote to standard error."""
        if self._nonsense:
            return f"worker: it answered {self._nonsense!r}"
        try:
            code: int | None = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        return describe_end(code, self._log, surprised=not self.timed_out)

    def kill(self) -> None:
        """End the process now."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue  # the other end is gone already
        self._process.wait()


def describe_end(code: int | None, log: Path, *, surprised: bool = True) -> str:
    """Return how a process ended, with the end of its log; `surprised`: nobody here killed it."""
    tail = log.read_text(encoding="utf-8", errors="replace")[-1500:].strip()
    if code is not None and code < 0:
        how = f"killed by {signal.Signals(-code).name}"
        how += " (out of memory?)" if code == -signal.SIGKILL and surprised else ""
    else:
        how = "no answer" if code is None else f"exit status {code}"
    return f"worker: {how}" + (f"; it said: {tail}" if tail else "")


def _send(stream: IO[bytes], message: Mapping[str, Any]) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def _receive(line: bytes) -> dict[str, Any] | None:
    """Return an answer, ``None`` where it is none of the protocol's."""
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    known = isinstance(answer, dict) and not answer.keys().isdisjoint(ANSWERS)
    return answer if known else None
