"""The rounds of a trial under a controller: which rows are drawn, what is measured, what it costs.

Everything here is a function of (controller, configuration, seed, step) and of what the checkpoint
holds: the controller's memory, the shares, how many rows of each domain were drawn, the sums of the
round under way, and the reference's weights where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from jobs_bench.errors import CapabilityError, ContractError, JournalError
from jobs_bench.evaluator.attempt import Attempt, Lap
from jobs_bench.registry.loading import load_controller
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.strategy.controller import Controller, Memory, ProxyLosses, ProxyRun, Signals
from jobs_bench.task.contract import ModelFacts
from jobs_bench.task.cost import eval_flop, train_flop
from jobs_bench.task.finetune import Question, Recipe, Row, gold_context, right_answer
from jobs_bench.train.adapter import Adapted, trainable
from jobs_bench.train.batches import Batch, Encoded, MixtureStream, collate, encode_row
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.trainer import DivergedError, Trainer, at_least_single
from jobs_bench.trial import Segment

ASIDE = 0x5851F42D4C957F2D
"""Added to a trial's seed: gradients are measured on other draws than the trial's own."""

_OF_ROUND = ("rows", "losses", "labels", "excess")
_SUMS = ("shares", "drawn", *_OF_ROUND)


@dataclass(frozen=True, slots=True)
class Ground:
    """What all segments of an evaluator are run on.

    Attributes:
        model: Base model.
        facts: Of it.
        stream: Where batches come from.
        recipe: What is the same for every trial.
        held_out: Losses of the model as it is on each domain's held-out rows, with their tokens.
        target: Questions whose right answers give the target gradient.
    """

    model: LanguageModel
    facts: ModelFacts
    stream: MixtureStream
    recipe: Recipe
    held_out: Callable[[], tuple[Mapping[str, float], int]]
    target: Sequence[Question]


class Online:
    """The rounds of one controlled segment; the guide of its trainer.

    Args:
        segment: With a controller.
        ground: What it runs on.
        attempt: Is told what was spent.
        controller: Obeyed in place of the one that the segment's spec names.

    Raises:
        InputError: There is no such controller, or an option of it is wrong.
    """

    def __init__(
        self,
        segment: Segment,
        ground: Ground,
        attempt: Attempt,
        controller: Controller | None = None,
    ) -> None:
        self._segment = segment
        self._ground = ground
        self._attempt = attempt
        self._controller = controller or load_controller(segment.controller)
        self._horizon = ground.recipe.fidelity.horizon
        self._names = ground.stream.names
        k = len(self._names)
        self._ends = list(self._controller.ends(k, self._horizon))
        if self._ends != sorted({e for e in self._ends if 0 <= e < self._horizon}):
            raise ContractError(
                f"{segment.controller}: got rounds that end at {self._ends}; wanted ascending "
                f"steps in [0, {self._horizon})"
            )
        mixture = segment.config.mixture()
        self._sums = {name: np.zeros(k) for name in _SUMS}
        self._sums["shares"] = np.asarray([mixture[n] for n in self._names])
        self._memory: Memory = {}
        self._reference: dict[str, Tensor] = {}
        self._owners: list[int] = []
        self._adapted: Adapted | None = None
        if segment.start == 0:
            losses = self._proxies(self._controller.proxies(self._sums["shares"], self._horizon))
            first = self._controller.start(self._sums["shares"], self._horizon, losses)
            self._take(first)

    @property
    def shares(self) -> dict[str, float]:
        """Return the shares of the domains now."""
        return dict(zip(self._names, self._sums["shares"].tolist(), strict=True))

    def begin(self, adapted: Adapted) -> list[int]:
        """Note the trial's own adapter; return the ends of rounds in this segment."""
        self._adapted = adapted
        if self._segment.start == 0 and 0 in self._ends:
            self.end_round(adapted, 0)
        return [e for e in self._ends if self._segment.start < e <= self._segment.until]

    def batches(self, start: int, until: int) -> Iterator[Batch]:
        """Yield the batches of the steps ``start + 1 .. until``."""
        drawn = [int(n) for n in self._sums["drawn"]]
        shares = self._sums["shares"].tolist()
        rows, owners = self._ground.stream.draw_on(shares, self._segment.seed, start, until, drawn)
        for of_step, mine in zip(rows, owners, strict=True):
            self._owners = mine
            yield collate(self._ground.model, of_step)

    def saw(self, batch: Batch, logits: Tensor) -> None:
        """Add a step's losses, and what they exceed the reference's by, to the round's sums."""
        owner = np.repeat(self._owners, batch.predicts.sum(dim=1).tolist())
        losses = _token_losses(logits, batch.labels)
        self._add("labels", owner, np.ones(len(owner)))
        self._add("losses", owner, losses)
        for name in ("drawn", "rows"):
            self._add(name, np.asarray(self._owners), np.ones(len(self._owners)))
        if "excess" in self._controller.signals:
            over = np.maximum(losses - self._reference_losses(batch), 0.0)
            self._add("excess", owner, over)

    def end_round(self, adapted: Adapted, step: int) -> None:
        """Measure what the controller wants to know and take its shares.

        Raises:
            DivergedError: A held-out loss or a gradient is not finite.
            ContractError: The controller's answer is no mixture.
        """
        wanted = self._controller.signals
        held_out = alignments = norms = excess = None
        if "domain_losses" in wanted:
            with adapted.folded():
                held_out = self._held_out(step)
        if "alignments" in wanted:
            alignments, norms = self._alignments(adapted, step)
        sums = self._sums
        labels = np.where(sums["labels"] > 0, sums["labels"], np.nan)
        if "excess" in wanted:
            excess = sums["excess"] / labels
        losses, rows = sums["losses"] / labels, sums["rows"]
        signals = Signals(step, self._horizon, rows, losses, held_out, alignments, norms, excess)
        self._take(self._controller.update(self._memory, signals))
        for name in _OF_ROUND:
            sums[name] = np.zeros(len(self._names))

    def state(self) -> dict[str, Tensor]:
        """Return what goes into the checkpoint."""
        found = {f"sum.{n}": torch.from_numpy(v.copy()) for n, v in self._sums.items()}
        found |= {
            f"memory.{n}": torch.from_numpy(np.array(v, dtype=np.float64))
            for n, v in self._memory.items()
        }
        return found | {f"reference.{n}": t for n, t in self._reference.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint.

        Raises:
            JournalError: It is of a trial without a controller.
        """
        lacking = [n for n in _SUMS if f"sum.{n}" not in state]
        if lacking:
            raise JournalError(
                f"the checkpoint of trial {self._segment.trial_id} at step {self._segment.start} "
                f"lacks {', '.join(lacking)}; wanted one made under {self._segment.controller}"
            )
        parts: dict[str, dict[str, Tensor]] = {"sum": {}, "memory": {}, "reference": {}}
        for name, value in state.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        self._sums = {n: v.numpy() for n, v in parts["sum"].items()}
        self._memory = {n: v.numpy() for n, v in parts["memory"].items()}
        device = self._ground.model.device
        self._reference = {n: v.to(device) for n, v in parts["reference"].items()}

    def _add(self, name: str, owner: np.ndarray, values: np.ndarray) -> None:
        more = np.bincount(owner, weights=values, minlength=len(self._names))
        self._sums[name] = self._sums[name] + more

    def _take(self, answer: tuple[Memory, np.ndarray]) -> None:
        memory, shares = answer
        shares = np.asarray(shares, dtype=np.float64)
        right = shares.shape == (len(self._names),) and np.isfinite(shares).all()
        if not (right and (shares >= 0).all() and abs(shares.sum() - 1) < 1e-9):
            raise ContractError(
                f"{self._segment.controller}: got the shares {shares.tolist()}; wanted "
                f"{len(self._names)} numbers of at least 0 that sum to 1"
            )
        self._memory, self._sums["shares"] = memory, shares

    def _held_out(self, step: int) -> np.ndarray:
        with quiet(self._ground.model):  # before its first step an adapter drops out
            losses, tokens = self._ground.held_out()
        self._attempt.scored(tokens)
        lacking = [n for n in self._names if n not in losses]
        if lacking:
            raise CapabilityError(
                f"{self._segment.controller} needs held-out rows of every domain; there are none "
                f"of {', '.join(lacking)}"
            )
        found = np.asarray([losses[n] for n in self._names])
        if not np.isfinite(found).all():
            raise DivergedError(step, "a held-out loss", self._attempt.train_tokens)
        return found

    def _proxies(self, runs: Sequence[ProxyRun]) -> list[ProxyLosses]:
        """Train each proxy run from the beginning; keep the last one's weights as reference."""
        ground, config = self._ground, self._segment.config
        held_out = "domain_losses" in self._controller.signals
        before: np.ndarray | None = None
        found: list[ProxyLosses] = []
        for run in runs:
            lap = Lap()
            own = with_shares(config, self._names, run.shares)
            with trainable(ground.model, own, self._segment.seed) as adapted:
                trainer = Trainer(adapted, ground.stream, ground.recipe, self._segment.seed)
                if held_out and before is None:  # fresh adapters change nothing yet
                    before = self._held_out(0)
                try:
                    for _ in trainer.run([run.steps]):
                        pass
                except DivergedError as err:
                    raise DivergedError(0, "a proxy run's loss or gradient", 0) from err
                finally:
                    flop = train_flop(ground.facts, own, trainer.tokens, trainer.step)
                    self._attempt.measured(trainer.tokens, flop, lap())
                if before is not None:
                    with adapted.folded():
                        found.append(ProxyLosses(before, self._held_out(0)))
                if "excess" in self._controller.signals:
                    self._reference = adapted.state()
        return found

    def _reference_losses(self, batch: Batch) -> np.ndarray:
        assert self._adapted is not None  # the segment has begun
        model, facts = self._ground.model, self._ground.facts
        with torch.no_grad(), quiet(model), _borrowed(self._adapted, self._reference):
            logits = model.logits_at(batch.input_ids, batch.predicts)
        flop = eval_flop(facts, self._segment.config, batch.tokens)
        self._attempt.measured(batch.tokens, flop)
        return _token_losses(logits, batch.labels)

    def _alignments(self, adapted: Adapted, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return each domain's inner product with the target gradient, and its norm."""
        ground = self._ground
        size, index = ground.recipe.batch_size, self._ends.index(step)
        seed = (self._segment.seed + ASIDE) % (1 << 63)
        target = self._gradient(adapted, self._target_rows(index * size, size), step)
        products, norms = [], []
        for d in range(len(self._names)):
            rows = ground.stream.of_domain(d, seed, index * size, size)
            own = self._gradient(adapted, rows, step)
            products.append(float(own @ target))
            norms.append(float(torch.linalg.vector_norm(own)))
        return np.asarray(products), np.asarray(norms)

    def _target_rows(self, start: int, count: int) -> list[Encoded]:
        model, recipe = self._ground.model, self._ground.recipe
        questions = self._ground.target
        chosen = [questions[i % len(questions)] for i in range(start, start + count)]
        longest = min(recipe.max_length, model.context)
        return [encode_row(model, Row(gold_context(q), right_answer(q)), longest) for q in chosen]

    def _gradient(self, adapted: Adapted, rows: Sequence[Encoded], step: int) -> Tensor:
        """Return the gradient of the mean loss of `rows`, without dropout, in float64."""
        model, config = self._ground.model, self._segment.config
        batch = collate(model, rows)
        with quiet(model):
            logits = model.logits_at(batch.input_ids, batch.predicts)
            loss = cross_entropy(at_least_single(logits), batch.labels)
            grads = torch.autograd.grad(loss, list(adapted.params.values()))
        self._attempt.measured(
            batch.tokens, train_flop(self._ground.facts, config, batch.tokens, 1)
        )
        flat = torch.cat([g.reshape(-1) for g in grads]).double()
        if not bool(torch.isfinite(flat).all()):
            raise DivergedError(step, "a domain's gradient", self._attempt.train_tokens)
        return flat


def with_shares(config: Configuration, names: Sequence[str], shares: np.ndarray) -> Configuration:
    """Return `config` with another mixture."""
    mixture = Mixture.normalised(dict(zip(names, shares.tolist(), strict=True)))
    return config.with_({"mixture": mixture})


def _token_losses(logits: Tensor, labels: Tensor) -> np.ndarray:
    losses = cross_entropy(at_least_single(logits), labels, reduction="none")
    found: np.ndarray = losses.double().cpu().numpy()
    return found


@contextmanager
def quiet(model: LanguageModel) -> Iterator[None]:
    """Turn dropout off, and back on where it was on."""
    was = model.hf.training
    model.hf.eval()
    try:
        yield
    finally:
        model.hf.train(was)


@contextmanager
def _borrowed(adapted: Adapted, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Put other weights into the adapter for a while."""
    own = adapted.state()
    adapted.load(dict(weights))
    try:
        yield
    finally:
        adapted.load(own)
