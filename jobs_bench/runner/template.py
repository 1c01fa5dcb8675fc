"""The pool's side: a template process that workers are forked from, in milliseconds each.

What the template does is in `jobs_bench.runner.forking`. It is started when the first worker is
wanted, gets the same first message as a worker, and answers ``ready``; ``error`` where a worker
could not start either; or ``alone`` with the reason why it cannot be forked: then workers are
started each by itself. A template that dies takes its workers along; the next one that is wanted
comes from a new template.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs_bench.errors import WorkerError
from jobs_bench.runner.forking import MESSAGE_BYTES
from jobs_bench.runner.worker_process import describe_end

STARTS = 2
"""Templates that a fork is tried with, should they die."""

logger = logging.getLogger(__name__)


class Forked:
    """A worker that a template has been asked for; a `jobs_bench.runner.worker_process.Process`.

    Args:
        stdin: Descriptor to write its input to.
        stdout: Descriptor to read its output from.
        line: To the template, which tells on it how the worker ended.
    """

    def __init__(self, stdin: int, stdout: int, line: socket.socket) -> None:
        self.stdin = os.fdopen(stdin, "wb")
        self.stdout = os.fdopen(stdout, "rb")
        self._line = line
        self._told = b""
        self._code: int | None = None
        self._reading = threading.Lock()

    @property
    def orphaned(self) -> bool:
        """Return whether the worker has ended, but nobody told how: its template died."""
        return self._code is not None and not self._told

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, ``-signal`` where one killed it.

        Raises:
            TimeoutExpired: It has not ended within `timeout` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with self._reading:
            while self._code is None:
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    raise subprocess.TimeoutExpired("a forked worker", timeout or 0.0)
                self._line.settimeout(left)
                try:
                    got = self._line.recv(16)
                except TimeoutError:
                    continue
                except OSError:  # the template died with something unread
                    got = b""
                self._told += got
                if not got:
                    self._line.close()
                    self._code = int(self._told) if self._told else -signal.SIGKILL
            return self._code

    def kill(self) -> None:
        """Have it ended now."""
        try:
            self._line.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it has ended


class Template:
    """A template process.

    Args:
        command: Starts it; its standard input is the socket that requests come over.
        log: For what it writes to standard output and error.
        env: Its environment, and so its workers'.

    Raises:
        WorkerError: There is no such command.
    """

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None) -> None:
        self._log = log
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs, log.open("ab") as written:
                self._process = subprocess.Popen(
                    list(command),
                    stdin=theirs.fileno(),
                    stdout=written,
                    stderr=written,
                    env=None if env is None else dict(env),
                    start_new_session=True,  # Ctrl-C is for the study
                )
        except OSError as err:
            self._control.close()
            raise WorkerError(f"a worker could not start: {err}") from err

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self._process.pid

    def greet(self, hello: Mapping[str, Any]) -> str:
        """Wait until it is ready; return why it cannot be forked, empty where it can.

        Raises:
            WorkerError: It could not start.
        """
        try:
            self._control.sendall(json.dumps(hello).encode())
            got = self._control.recv(MESSAGE_BYTES)
        except OSError:  # it died
            got = b""
        if not got:
            self._process.kill()
            detail = describe_end(self._process.wait(), self._log)
            raise WorkerError(f"a worker could not start: {detail}")
        answer = json.loads(got)
        if "error" in answer:
            raise WorkerError(f"a worker could not start: {answer['error']}")
        return str(answer.get("alone", ""))

    def fork(self, log: Path) -> Forked:
        """Ask for a worker that writes its standard error to `log`.

        Raises:
            ConnectionError: The template has died.
        """
        stdin, stdout = os.pipe(), os.pipe()
        line, theirs = socket.socketpair()
        forked = Forked(stdin[1], stdout[0], line)
        try:
            with log.open("ab") as errors:
                given = [stdin[0], stdout[1], errors.fileno(), theirs.fileno()]
                socket.send_fds(self._control, [b"fork"], given)
        except OSError:
            line.close()
            forked.stdin.close()
            forked.stdout.close()
            raise
        finally:
            theirs.close()
            os.close(stdin[0])
            os.close(stdout[1])
        return forked

    def kill(self) -> None:
        """End it now, and with it what is left of its workers."""
        self._process.kill()
        self._process.wait()
        self._control.close()


class Nursery:
    """Where a pool's workers come from: one template at a time, started when it is needed.

    Args:
        command: Starts a template.
        hello: First message to it.
        log_dir: Folder for ``template.log``.
        env: Its environment.
    """

    def __init__(
        self,
        command: Sequence[str],
        hello: Mapping[str, Any],
        log_dir: Path,
        env: Mapping[str, str] | None,
    ) -> None:
        self._command = list(command)
        self._hello = dict(hello)
        self._log = log_dir / "template.log"
        self._env = env
        self._closing = False
        self._alone = ""
        self._template: Template | None = None
        self._lock = threading.Lock()

    @property
    def pid(self) -> int | None:
        """Return the process id of the template, ``None`` where there is none now."""
        template = self._template
        return None if template is None else template.pid

    def fork(self, log: Path) -> Forked | None:
        """Return a new worker; ``None`` where workers are to be started each by itself.

        Raises:
            WorkerError: No template could start, or they die.
        """
        with self._lock:
            for _ in range(STARTS):
                template = self._template or self._start()
                if template is None:
                    return None
                try:
                    return template.fork(log)
                except ConnectionError as err:
                    logger.debug("template %d has died: %s", template.pid, err)
                    self._drop()
        raise WorkerError("a worker could not start: its template died as soon as it was ready")

    def _start(self) -> Template | None:
        if self._alone:
            return None
        self._refuse_when_closing()
        template = Template(self._command, self._log, self._env)
        self._template = template  # from here on, `close` finds it
        try:
            self._refuse_when_closing()
            self._alone = template.greet(self._hello)
        except WorkerError:
            self._drop()
            raise
        if not self._alone:
            return template
        logger.debug("workers are started each by itself: %s", self._alone)
        self._drop()
        return None

    def _refuse_when_closing(self) -> None:
        if self._closing:
            raise WorkerError("the workers are being closed")

    def _drop(self) -> None:
        template, self._template = self._template, None
        if template is not None:
            template.kill()

    def close(self) -> None:
        """End the template."""
        self._closing = True
        self._drop()
