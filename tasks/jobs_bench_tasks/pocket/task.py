"""The pocket tasks: an embedded 1.2 M-parameter model, nine training domains, three targets.

Rows and model are made by ``tasks/pocket_recipe``; what makes the problem worth solving, and how
it was measured, stands in its README. Training domains differ in how careful and how long their
answers are, targets differ in which of these they want: the best mixture depends on the target and
on how much the adapter can change.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from jobs_bench.errors import InputError, OptionError, UnknownNameError
from jobs_bench.fidelity import Fidelity
from jobs_bench.space.presets import lora_space
from jobs_bench.task.contract import References, TaskSetup
from jobs_bench.task.finetune import Domain, Exact, Recipe, Row
from jobs_bench.task.sources import Record, content_id, read_jsonl, text
from jobs_bench.task.split import split_questions
from jobs_bench.task.text_spec import EXACT_MATCH, GOLD_BPB, TextSpec, mixture_axis
from jobs_bench.task.text_task import TextTask

DATA = Path(__file__).parent / "data"
DOMAINS = ("add", "mul", "eq", "seq", "trend", "word", "est", "rev", "sort")
FIELDS = {"prompt": str, "answer": str}
HELD_OUT = 12
"""Rows of each domain on which its loss is measured."""


class PocketTask(TextTask):
    """One target of the pocket track.

    Args:
        setup: Its model: ``pocket``, unless the user names another.
        metric: ``gold_bpb`` (smooth, the default) or ``exact_match``.
        n_visible: At most so many items for strategies.
        n_hidden: At most so many items for the oracle.
        batch_size: Rows a step.
    """

    default_model: ClassVar[str | None] = "pocket"
    target: ClassVar[str]
    summary: ClassVar[str]
    noise_floor: ClassVar[float]
    """Standard deviation of the ``gold_bpb`` score over training seeds, from ``results/pocket``."""

    def __init__(
        self,
        setup: TaskSetup,
        *,
        metric: str = "gold_bpb",
        n_visible: int = 200,
        n_hidden: int = 200,
        batch_size: int = 16,
    ) -> None:
        if setup.model is None:
            raise InputError("the pocket tasks fine-tune a base model; got none")
        if metric not in ("gold_bpb", "exact_match"):
            raise UnknownNameError("metric", metric, ("gold_bpb", "exact_match"))
        if batch_size < 1:
            raise OptionError(f"got batch_size={batch_size}; wanted at least 1")
        recipe = Recipe(
            fidelity=Fidelity((8, 16, 32, 56, 80)),
            batch_size=batch_size,
            max_length=64,
            warmup_steps=10,
            final_lr=0.2,
            learning_rate=2e-3,
        )
        domains = tuple(_domain(name) for name in DOMAINS)
        visible, hidden = split_questions(
            [q for file in self.files() for q in _questions(file)],
            n_visible=n_visible,
            n_hidden=n_hidden,
        )
        space = lora_space(
            mixture_axis(domains, recipe, floor=0.02, max_epochs=12.0),
            setup.model.n_layers,
            learning_rate=(1e-3, 7e-3),
            default_learning_rate=2e-3,
            r=(1, 32),
            default_r=8,
            scaling=(0.5, 4.0),
            min_layers=min(2, setup.model.n_layers),
            methods=("lora",),
        )
        super().__init__(
            TextSpec(
                name=f"pocket_{self.target}",
                summary=self.summary,
                model=setup.model,
                domains=domains,
                visible=visible,
                hidden=hidden,
                recipe=recipe,
                metrics=(GOLD_BPB, EXACT_MATCH),
                metric=metric,
                search=space,
                licence="Apache-2.0",
                reference="tasks/pocket_recipe of this project",
                tags=("pocket",),
                references=References(
                    default=space.default(),
                    noise_floor=self.noise_floor if metric == "gold_bpb" else None,
                ),
                estimate_tokens=pocket_tokens,
            )
        )

    @classmethod
    def files(cls) -> tuple[str, ...]:
        """Return the evaluation files that the target is made of."""
        return (cls.target,)


class PocketWord2(PocketTask):
    """Two-step word problems."""

    target = "word2"
    noise_floor = 0.030
    summary = "Two-step word problems; one-step problems, sums and sequences are among the domains."


class PocketMiss(PocketTask):
    """The missing term of a sequence."""

    target = "miss"
    noise_floor = 0.022
    summary = "The missing term of a sequence; the next term and products are among the domains."


class PocketDown(PocketTask):
    """Letters in descending order: the hard case, noisy and with early scores that tell little."""

    target = "down"
    noise_floor = 0.019
    summary = "Letters in descending order; reversing and ascending order are among the domains."


def pocket_tokens(text: str) -> float:
    """Return the tokens of `text` in the embedded model: words whole, digits and signs alone."""
    return float(len(re.findall(r"[a-z]+|\S", text)))


def _row(record: Record) -> Row:
    return Row(text(record, "prompt"), " " + text(record, "answer"))


def _domain(name: str) -> Domain:
    rows = read_jsonl(DATA / "train" / f"{name}.jsonl", FIELDS, _row)
    return Domain(name, tuple(rows[HELD_OUT:]), tuple(rows[:HELD_OUT]), licence="Apache-2.0")


def _questions(target: str) -> list[Exact]:
    def question(record: Record) -> Exact:
        prompt, answer = text(record, "prompt"), text(record, "answer")
        return Exact(content_id(f"pocket_{target}", (prompt, answer)), prompt, answer)

    return read_jsonl(DATA / "eval" / f"{target}.jsonl", FIELDS, question)


TARGETS: tuple[type[PocketTask], ...] = (PocketWord2, PocketMiss, PocketDown)
"""The single targets; one training run can be scored on all of them."""


class PocketAll(PocketTask):
    """All three targets at once, in equal numbers: no domain is near to everything."""

    target = "all"
    noise_floor = 0.014
    summary = (
        "Word problems, missing terms and descending letters at once: a mixture must serve all."
    )

    @classmethod
    def files(cls) -> tuple[str, ...]:
        """Return the files of every single target."""
        return tuple(task.target for task in TARGETS)
