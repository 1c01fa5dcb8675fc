"""A worker that speaks the protocol and nothing else: ``python fake_worker.py alone|template``.

The first `faults` runs of all workers together go wrong in the way that hello says.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO


def work(lines: Iterator[str], out: TextIO) -> None:
    def say(text: str) -> None:
        out.write(text + "\n")
        out.flush()

    hello = json.loads(next(lines))
    _append(hello["pids"], str(os.getpid()))
    if hello["how"] == "refuse":
        say('{"error": "no model here"}')
    elif hello["how"] == "slow start":
        time.sleep(60)
    else:
        say('{"ready": true}')
    for line in lines:
        message = json.loads(line)
        _append(hello["runs"], message["op"] + (str(len(message["of"])) if "of" in message else ""))
        if len(Path(hello["runs"]).read_text(encoding="utf-8").split()) <= hello["faults"]:
            sys.stderr.write("the end is near\n")
            sys.stderr.flush()
            if hello["how"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if hello["how"] == "exit":
                sys.exit(3)
            if hello["how"] == "exit with words":
                sys.exit("that is all")
            if hello["how"] == "raise":
                raise RuntimeError("a bug")
            if hello["how"] == "hang":
                time.sleep(60)
            told = {
                "nonsense": "[1",
                "a list": "[]",
                "no outcome": "{}",
                "full": '{"error": "full", "storage": true}',
                "other": '{"error": "no model"}',
            }
            say(told[hello["how"]])
            continue
        outcomes: list[dict[str, Any]] = []
        for each in message.get("of", [message]):
            segment = each.get("segment") or {
                "trial": 0,
                "config": each.get("config") or {},
                "start": 0,
                "until": 8,
                "seed": each.get("seed", 0),
                "parent": None,
            }
            charge = {"category": "train", "tok": 5, "flop": 7.0, "s": 0.5}
            outcomes.append(
                {"segment": segment, "status": "ok", "points": [], "charges": [charge], "error": ""}
            )
        several = "of" in message
        say(json.dumps({"outcomes": outcomes} if several else {"outcome": outcomes[0]}))


def _append(path: str, line: str) -> None:
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def template() -> None:
    from jobs_bench.runner.forking import serve_forks
    from jobs_bench.runner.lifeline import die_with_parent

    die_with_parent()
    control = socket.socket(fileno=os.dup(0))
    hello = json.loads(control.recv(1 << 16))
    _append(hello["pids"], str(os.getpid()))
    _append(hello["templates"], str(os.getpid()))
    if hello["how"] == "slow template":
        time.sleep(60)
    told = {"alone": '{"alone": "no forks here"}', "no template": '{"error": "no data"}'}
    control.sendall(told.get(hello["how"], '{"ready": true}').encode())
    if hello["how"] == "dies when ready":
        return
    if hello["how"] == "no fork":
        os.fork = _no_fork
    serve_forks(control, lambda out: work(sys.stdin, out))


def _no_fork() -> NoReturn:
    raise OSError(11, "out of processes")


if __name__ == "__main__":
    if sys.argv[1] == "template":
        template()
    else:
        work(sys.stdin, sys.stdout)
