"""What a person sees while studies run: bars of spend, or plain lines without a terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from jobs_bench.runner.machine import Machine
from jobs_bench.store.codec import Event


class Watch(Protocol):
    """Shows how a run goes."""

    def begin(self, title: str, limit: float, unit: str) -> None:
        """Show that a study starts or goes on."""
        ...

    def event(self, event: Event, machine: Machine) -> None:
        """Show an event."""
        ...

    def say(self, text: str) -> None:
        """Show a line."""
        ...

    def __enter__(self) -> Watch:
        """Start showing."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing."""
        ...


class Silent:
    """Shows nothing: for machines."""

    def begin(self, title: str, limit: float, unit: str) -> None:
        """Show nothing."""

    def event(self, event: Event, machine: Machine) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class Lines(Silent):
    """A plain line a finished segment."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._title = ""
        self._unit = ""

    def begin(self, title: str, limit: float, unit: str) -> None:
        """Print the study."""
        self._title, self._unit = title, unit
        self.say(f"{title}: budget {limit:g}{unit}")

    def event(self, event: Event, machine: Machine) -> None:
        """Print finished segments, the end of the search and oracles."""
        if event.type == "finished":
            self.say(f"  {_segment_text(event)}  spent {machine.spent:.2f}{self._unit}")
        elif event.type == "ended":
            self.say(f"  search over: {event.payload['reason']}; scoring on hidden items")
        elif event.type == "oracle" and event.payload["outcome"]["points"]:
            mean = event.payload["outcome"]["points"][-1]["score"][0]
            self.say(f"  oracle {event.payload['who']}: {_short(mean)}")

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class Bars(Silent):
    """A live bar a study: spend, segments, best score, time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[spend]}"),
            TextColumn("{task.fields[state]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task: TaskID | None = None
        self._limit = 0.0
        self._unit = ""
        self._segments = 0
        self._failed = 0
        self._best: float | None = None
        self._began = 0.0
        self._spent_before: float | None = None

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begin(self, title: str, limit: float, unit: str) -> None:
        """Add a bar."""
        self._limit, self._unit = limit, unit
        self._segments = self._failed = 0
        self._best, self._spent_before = None, None
        self._began = time.monotonic()
        self._task = self._progress.add_task(escape(title), total=limit, spend="", state="starting")

    def event(self, event: Event, machine: Machine) -> None:
        """Move the bar."""
        if self._task is None:
            return
        if self._spent_before is None:
            self._spent_before = machine.spent
        state = ""
        if event.type == "finished":
            self._segments += 1
            points = event.payload["points"]
            if event.payload["status"] != "ok":
                self._failed += 1
            elif points and isinstance(points[-1]["score"][0], (int, float)):
                score = float(points[-1]["score"][0])
                self._best = score if self._best is None else max(self._best, score)
        if event.type in ("finished", "asked", "recommended"):
            state = self._state(machine)
        elif event.type == "ended":
            state = "scoring on hidden items"
        elif event.type == "closed":
            best = "" if self._best is None else f", best seen {self._best:.4g}"
            state = f"done: {self._segments} segments{best}"
        if state:
            spend = f"{machine.spent:.2f}/{self._limit:g}{self._unit}"
            done = min(machine.spent, self._limit)
            self._progress.update(self._task, completed=done, spend=spend, state=state)

    def _state(self, machine: Machine) -> str:
        spent = machine.spent - (self._spent_before or 0.0)
        parts = [f"{self._segments} segments"]
        if self._failed:
            parts.append(f"{self._failed} failed")
        if self._best is not None:
            parts.append(f"best {self._best:.4g}")
        if spent > 0:
            rate = (time.monotonic() - self._began) / spent
            parts.append(f"~{_clock(rate * max(self._limit - machine.spent, 0.0))} left")
        return ", ".join(parts)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _segment_text(event: Event) -> str:
    segment = event.payload["segment"]
    where = f"trial {segment['trial']} {segment['start']}-{segment['until']}"
    if event.payload["status"] != "ok" or not event.payload["points"]:
        error = event.payload["error"].strip().splitlines()
        return f"{where}: {event.payload['status']}" + (f" ({error[-1]})" if error else "")
    mean, se, _ = event.payload["points"][-1]["score"]
    return f"{where}: {_short(mean)} +- {_short(se)}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def watch_for(console: Console, *, json: bool) -> Watch:
    """Return bars for a terminal, lines elsewhere, nothing for machines."""
    if json:
        return Silent()
    return Bars(console) if console.is_terminal else Lines(console)
