"""Checks a study folder from outside: sums, order, steps and budgets, without running anything."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from jobs_bench.budget import Budget, Ledger
from jobs_bench.errors import JobsBenchError
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.store.codec import (
    Event,
    outcome_from_json,
    proposal_from_json,
    read_number,
    recommendation_from_json,
)
from jobs_bench.store.folder import Manifest, StudyFolder
from jobs_bench.store.journal import read
from jobs_bench.strategy.contract import Recommendation
from jobs_bench.trial import Fork, Merge, Outcome, Resume, Retire, Start

TOLERANCE = 0.02  # of a full run: costs are estimated when the last segment is let in
NOTE = "note: "


@dataclass(slots=True)
class _Trial:
    """A trial as the proposals made it."""

    config: Configuration
    step: int
    until: int | None
    parent: int | None = None
    controller: str = ""
    merge: Merge = ()


@dataclass(slots=True)
class _Walk:
    """What holds at a place in the journal."""

    manifest: Manifest
    ledger: Ledger
    budget: Budget
    trials: dict[int, _Trial] = field(default_factory=dict)
    asks: int = 0
    ended: bool = False
    owes: bool = True
    recommended: Recommendation | None = None
    oracle: dict[str, int] = field(default_factory=dict)

    @property
    def full_run(self) -> float:
        """Return the cost of a full run in the budget's currency, as far as the study tells."""
        if self.budget.currency in ("x", "flop"):
            return 1.0 if self.budget.currency == "x" else self.manifest.full_run_flop
        per_flop = self.ledger.spent(self.budget.currency) / max(self.ledger.spent("flop"), 1.0)
        return per_flop * self.manifest.full_run_flop


def validate(folder: Path) -> list[str]:
    """Return what is wrong with a study, one line each; lines that begin with `NOTE` are no faults.

    A study that is not finished yet is valid as far as it goes.
    """
    study = StudyFolder(folder)
    try:
        manifest = study.manifest()
        if not study.events.exists():
            return []
        reading = read(study.events)
        notes = (
            [f"{NOTE}the last line is torn ({reading.torn_bytes} bytes); a resume drops it"]
            if reading.torn_bytes
            else []
        )
        walk = _Walk(manifest, Ledger(manifest.full_run_flop), Budget.parse(manifest.budget))
        return [*_problems(walk, reading.events), *notes]
    except JobsBenchError as err:
        return [str(err)]


def _problems(walk: _Walk, events: Sequence[Event]) -> list[str]:
    found: list[str] = []
    for i, event in enumerate(events):
        try:
            found += [f"event {i} ({event.type}): {p}" for p in _event(walk, i, event)]
            if i < len(events) - 1 and event.type == "closed":
                found.append(f"event {i} (closed): there are events after it")
        except JobsBenchError as err:
            found.append(f"event {i} ({event.type}): {err}")
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as err:
            found.append(f"event {i} ({event.type}): does not hold what it should ({err!r})")
    limit = walk.budget.limit
    spent = walk.ledger.spent(walk.budget.currency)
    if spent > limit + TOLERANCE * walk.full_run:
        found.append(f"spent {spent:.6g} of a budget of {walk.budget}")
    return found


def _event(walk: _Walk, index: int, event: Event) -> Iterator[str]:
    if (event.type == "started") != (index == 0):
        yield "a journal begins with one event 'started'"
    if walk.ended and event.type in ("asked", "finished", "recommended", "ended"):
        yield "the search had ended"
    if walk.owes and event.type in ("asked", "finished", "ended"):
        yield "a recommendation is missing before it"
        walk.owes = False
    if event.type == "started":
        yield from _started(walk, event)
    elif event.type == "asked":
        yield from _asked(walk, event)
    elif event.type == "finished":
        yield from _finished(walk, outcome_from_json(event.payload))
    elif event.type == "recommended":
        yield from _recommended(walk, event)
    elif event.type == "ended":
        running = [i for i, t in walk.trials.items() if t.until is not None]
        if running:
            yield f"proposals without an end: trials {running}"
        walk.ended = True
    elif event.type == "oracle":
        yield from _oracle(walk, event)
    elif event.type == "closed":
        yield from _closed(walk)


def _started(walk: _Walk, event: Event) -> Iterator[str]:
    facts = walk.manifest.facts()
    differ = [k for k in {**facts, **event.payload} if event.payload.get(k) != facts.get(k)]
    if differ:
        yield f"manifest.json says otherwise about {', '.join(sorted(differ))}"


def _asked(walk: _Walk, event: Event) -> Iterator[str]:
    if event.payload["ask"] != walk.asks:
        yield f"got ask {event.payload['ask']}, wanted {walk.asks}"
    walk.asks += 1
    for data in event.payload["proposals"]:
        proposal = proposal_from_json(data)
        if isinstance(proposal, (Resume, Fork, Retire)) and proposal.trial_id not in walk.trials:
            yield f"there is no trial {proposal.trial_id} yet"
            continue
        if isinstance(proposal, Resume):
            trial = walk.trials[proposal.trial_id]
            if trial.until is not None:
                yield f"trial {proposal.trial_id} is running already"
            trial.until, trial.parent = proposal.until, None
        elif isinstance(proposal, Start):
            start = proposal.until if proposal.merge else 0
            trial = _Trial(proposal.config, start, proposal.until)
            trial.controller, trial.merge = proposal.controller, proposal.merge
            yield from _parents(walk, proposal)
            walk.trials[len(walk.trials)] = trial
        elif isinstance(proposal, Fork):
            step = walk.trials[proposal.trial_id].step
            trial = _Trial(proposal.config, step, proposal.until, proposal.trial_id)
            walk.trials[len(walk.trials)] = trial
        else:
            continue
        steps = walk.manifest.steps
        if proposal.until not in steps or (proposal.until <= trial.step and not trial.merge):
            yield f"got until={proposal.until}; wanted one of {steps} above {trial.step}"


def _parents(walk: _Walk, proposal: Start) -> Iterator[str]:
    for parent, _ in proposal.merge:
        of = walk.trials.get(parent)
        if of is None:
            yield f"there is no trial {parent} yet"
        elif of.until is not None or of.step != proposal.until or of.merge:
            yield f"trial {parent} has no adapter of step {proposal.until} to be merged"


def _finished(walk: _Walk, outcome: Outcome) -> Iterator[str]:
    segment = outcome.segment
    walk.ledger.add(outcome.charges)
    walk.owes = True
    negative = [c for c in outcome.charges if c.tok < 0 or not c.flop >= 0 or not c.s >= 0]
    if negative:
        yield f"charges below zero: {negative}"
    trial = walk.trials.get(segment.trial_id)
    if trial is None or trial.until is None:
        yield f"nobody proposed this segment of trial {segment.trial_id}"
        return
    wanted = (trial.config, trial.step, trial.until, trial.parent, trial.controller, trial.merge)
    names = ("config", "start", "until", "parent", "controller", "merge")
    for name, b in zip(names, wanted, strict=True):
        a = getattr(segment, name)
        if a != b:
            yield f"trial {segment.trial_id}: got {name} {a}, proposed was {b}"
    steps = [p.step for p in outcome.points]
    lo, hi = (segment.start if not segment.merge else segment.start - 1), segment.until
    if not all(a < b for a, b in pairwise((lo, *steps))) or (steps and steps[-1] > hi):
        yield f"points at steps {steps}; wanted ascending ones in ({lo}, {hi}]"
    if outcome.status == "ok" and (not steps or steps[-1] != segment.until):
        yield f"it ended well without a point at step {segment.until}"
    trial.until = None
    if outcome.status == "ok":
        trial.step = segment.until


def _recommended(walk: _Walk, event: Event) -> Iterator[str]:
    walk.owes = False
    recommendation = recommendation_from_json(event.payload)
    spent = read_number(event.payload["spent"])
    summed = walk.ledger.spent(walk.budget.currency)
    if not math.isclose(spent, summed, rel_tol=1e-6, abs_tol=1e-9):
        yield f"it says {spent:.9g} spent; the charges add up to {summed:.9g}"
    if recommendation.trial_id is not None and recommendation.trial_id not in walk.trials:
        yield f"it stems from trial {recommendation.trial_id}, which does not exist"
    low, score, high = recommendation.low, recommendation.score, recommendation.high
    if score is not None and low is not None and high is not None and not low <= score <= high:
        yield f"its score {score:.6g} is outside of its own interval {low:.6g} to {high:.6g}"
    yield from _plausible(walk, recommendation.config)
    walk.recommended = recommendation


def _plausible(walk: _Walk, config: Configuration) -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, float) and not math.isfinite(value):
            yield f"its {name} is {value}"
        other = next((t.config[name] for t in walk.trials.values() if name in t.config), value)
        if not _alike(value, other):
            yield f"its {name} is {value!r}, of another kind than {other!r} of a trial"


def _alike(a: object, b: object) -> bool:
    if isinstance(a, Mixture) and isinstance(b, Mixture):
        return set(a) == set(b)
    numbers = (int, float)
    return isinstance(a, numbers) == isinstance(b, numbers) and (
        isinstance(a, numbers) or type(a) is type(b)
    )


def _oracle(walk: _Walk, event: Event) -> Iterator[str]:
    if not walk.ended:
        yield "an oracle run before the search had ended"
    who, config = str(event.payload["who"]), event.payload["config"]
    walk.oracle[who] = walk.oracle.get(who, 0) + 1
    outcome = outcome_from_json(event.payload["outcome"])
    if outcome.status == "ok" and not outcome.points:
        yield "it ended well without a point"
    if who == "recommended" and walk.recommended is not None:
        differ = _differ(walk.recommended.config.to_json(), config)
        if differ:
            yield f"it trained something else than was recommended ({', '.join(differ)})"
        trained, wanted = str(event.payload.get("controller", "")), walk.recommended.controller
        if trained != wanted:
            yield f"it trained with the controller {trained!r}; recommended was {wanted!r}"


def _differ(recommended: Mapping[str, object], trained: Mapping[str, object]) -> list[str]:
    return [k for k, v in recommended.items() if trained.get(k) != v]


def _closed(walk: _Walk) -> Iterator[str]:
    if not walk.ended:
        yield "the search had not ended"
    n = len(walk.manifest.oracle_seeds)
    for who, wanted in (("base_model", 1), ("default", n), ("recommended", n)):
        if walk.oracle.get(who, 0) != wanted:
            yield f"got {walk.oracle.get(who, 0)} oracle runs of {who}, wanted {wanted}"
