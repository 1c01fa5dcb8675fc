"""The template's side: forks a worker on request, ends it on request, tells how it ended.

A process that has imported and loaded everything a worker needs forks workers in milliseconds, and
they share its memory until they write to it. Requests come over a socket that keeps the bounds of
messages (``SOCK_SEQPACKET``), one a worker, with four descriptors: the worker's standard input,
output and error, and its *line*, a socket of which the other end is the pool's. The line carries
the exit code when the worker has ended; a pool that shuts its end has the worker killed. The worker
holds the line open as well: where the template dies without a word, the pool reads the line's end
only when the worker, which Linux then kills, is gone too.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn, TextIO

from jobs_bench.runner.lifeline import die_with_parent

DESCRIPTORS = 4
MESSAGE_BYTES = 1 << 16

Body = Callable[[TextIO], None]
"""What a worker does, given its output; its input is standard input."""


def serve_forks(control: socket.socket, body: Body) -> None:
    """Fork workers until the pool closes `control`; end and reap them all then.

    To be called from a process without threads. Descriptors 0 to 2 of a worker are its own,
    standard output goes to its standard error.
    """
    _Template(control, body).serve()


class _Template:
    """Forks, watches and reaps."""

    def __init__(self, control: socket.socket, body: Body) -> None:
        self._control = control
        self._body = body
        self._lines: dict[int, socket.socket] = {}
        self._woken, self._waker = socket.socketpair()
        self._selector = selectors.PollSelector()

    def serve(self) -> None:
        for end in (self._woken, self._waker):
            end.setblocking(False)
        before = signal.signal(signal.SIGCHLD, _nothing)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(self._control, selectors.EVENT_READ)
        try:
            while self._turn():
                pass
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, before)
            for pid in list(self._lines):
                self._kill(pid)
                self._ended(pid, os.waitpid(pid, 0)[1])

    def _turn(self) -> bool:
        """Do what there is to do; return whether the pool is still there."""
        asked = False
        for key, _ in self._selector.select():
            if key.fileobj is self._control:
                asked = True
            elif key.fileobj is self._woken:
                self._woken.recv(4096)
            else:
                self._kill(key.data)
        for pid in list(self._lines):
            got, status = os.waitpid(pid, os.WNOHANG)
            if got:
                self._ended(pid, status)
        return not asked or self._fork()

    def _kill(self, pid: int) -> None:
        """End a worker; it has not been reaped, so the number is still its own."""
        if self._lines[pid].fileno() in self._selector.get_map():
            self._selector.unregister(self._lines[pid])
        os.kill(pid, signal.SIGKILL)

    def _ended(self, pid: int, status: int) -> None:
        line = self._lines.pop(pid)
        if line.fileno() in self._selector.get_map():
            self._selector.unregister(line)
        with line:
            try:
                line.sendall(str(os.waitstatus_to_exitcode(status)).encode())
            except OSError:
                return  # the pool has stopped listening

    def _fork(self) -> bool:
        """Answer a request; return whether it was one."""
        message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, DESCRIPTORS)
        if not message:
            return False
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        line = socket.socket(fileno=descriptors.pop())  # the worker's until it ends, too
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as err:
            os.write(descriptors[1], json.dumps({"error": f"no fork: {err}"}).encode() + b"\n")
            line.close()
        else:
            if pid == 0:
                self._become_worker(parent, descriptors)
            self._lines[pid] = line
            self._selector.register(line, selectors.EVENT_READ, pid)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _become_worker(self, parent: int, descriptors: list[int]) -> NoReturn:
        """Run the body in a worker of its own session; end without the template's clean-up."""
        code = 1
        try:
            die_with_parent(parent)
            os.setsid()  # as a worker that is started by itself
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._selector.close()
            for other in (self._control, self._woken, self._waker, *self._lines.values()):
                other.close()
            stdin, stdout, stderr = descriptors
            for source, target in ((stdin, 0), (stderr, 1), (stderr, 2)):
                os.dup2(source, target)
            os.close(stdin)
            os.close(stderr)
            with os.fdopen(stdout, "w", encoding="utf-8") as out:
                self._body(out)
            code = 0
        except SystemExit as err:
            code = _exit_code(err)
        except BaseException:  # this process has nobody above it to tell
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)


def _nothing(number: int, frame: object) -> None:
    """Handle a signal that is only to wake the template."""


def _exit_code(err: SystemExit) -> int:
    """Return the status that Python would end with."""
    if err.code is None or isinstance(err.code, int):
        return (err.code or 0) & 0xFF
    sys.stderr.write(f"{err.code}\n")
    return 1
