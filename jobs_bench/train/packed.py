"""Many trials in one forward and backward pass over one frozen base model.

Each step takes one batch of every trial of the pack. Rows of a trial stay together, its adapter
acts on them alone (`GroupedLinear`), its loss is the mean over its own labels, and clipping,
learning rate and AdamW are its own. Hence a trial takes the steps that `Trainer` would take, up to
the order of floating-point sums, whoever its neighbours are: their number, rank, modules, layers,
age, or that one of them diverges. A step is taken by all or, where it fails, by none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from jobs_bench.task.finetune import Recipe
from jobs_bench.train.adapter import linear_paths
from jobs_bench.train.batches import Encoded, MixtureStream, collate
from jobs_bench.train.checkpoint import State
from jobs_bench.train.frozen_prefix import SplitLayer
from jobs_bench.train.grouped import Group, GroupedLinear
from jobs_bench.train.language_model import LanguageModel
from jobs_bench.train.low_rank import LowRank, Place
from jobs_bench.train.masks import Masks
from jobs_bench.train.trainer import (
    EPSILON,
    DivergedError,
    Progress,
    at_least_single,
    learning_rate,
    step_seed,
)


class Member:
    """One trial of a pack: adapter, optimiser state, age.

    Args:
        adapter: Its adapter, fresh or loaded.
        seed: The trial's.
        recipe: What is the same for every trial.

    Attributes:
        step: Optimiser steps taken.
        tokens: Tokens trained on since it joined, padding excluded.
    """

    def __init__(self, adapter: LowRank, seed: int, recipe: Recipe) -> None:
        self.adapter = adapter
        self.seed = seed
        self.step = 0
        self.tokens = 0
        self.peak = adapter.config.number("learning_rate", recipe.learning_rate)
        self.m = {n: torch.zeros_like(p) for n, p in adapter.params.items()}
        self.v = {n: torch.zeros_like(p) for n, p in adapter.params.items()}
        self.grads: dict[str, Tensor] = {}
        self._rows: list[list[Encoded]] = []
        self._loss, self._labelled = 0.0, 0

    def restore(self, state: State) -> None:
        """Go on from a checkpoint, of this trainer or of `Trainer`."""
        self.adapter.load(state.params)
        for name in self.m:
            self.m[name].copy_(state.moments[f"{name}.m"])
            self.v[name].copy_(state.moments[f"{name}.v"])
        self.step = state.step

    def state(self) -> State:
        """Return where the trial stands, as `Trainer` would."""
        moments: dict[str, Tensor] = {}
        for name in self.m:
            moments[f"{name}.m"] = self.m[name].clone()
            moments[f"{name}.v"] = self.v[name].clone()
        return State(self.step, self.adapter.config.key(), self.adapter.state(), moments)

    def head_for(self, stream: MixtureStream, stop: int) -> None:
        """Draw the rows of the steps up to `stop`."""
        mixture = self.adapter.config.mixture()
        self._rows = stream.draw(mixture, self.seed, self.step, stop)[::-1]
        self._loss, self._labelled = 0.0, 0

    @property
    def rows(self) -> list[Encoded]:
        """Return the rows of the next step."""
        return self._rows[-1]

    @property
    def arrived(self) -> bool:
        """Return whether the step that it headed for is reached."""
        return not self._rows

    def progress(self) -> Progress:
        """Return what the stretch since `head_for` came to."""
        return Progress(self.step, self.tokens, self._loss / max(self._labelled, 1))

    def advance(self, loss: float, tokens: int, labelled: int) -> None:
        """Count a step that was taken."""
        self._rows.pop()
        self.step += 1
        self.tokens += tokens
        self._loss += loss * labelled
        self._labelled += labelled

    def settle(self) -> None:
        """Have matrices of its own again, so that the pack's stacks can be let go."""
        self.adapter.params = self.adapter.state()
        self.grads.clear()

    def start_layer(self, layers: str) -> int:
        """Return the lowest adapted layer; `layers` is the path of the list of layers."""
        return min(_layer_of(p.path, layers) for p in self.adapter.places)


@dataclass(slots=True)
class _Pass:
    """What modules need to know while a step is under way."""

    rows_each: int
    width: int
    widths: list[int]
    masks: list[Masks]

    def draw(self, trial: int, share: float, part: Tensor) -> Tensor:
        """Return what one trial keeps, as wide as the pack; nothing of its own padding."""
        own = self.widths[trial]
        inner = part.shape[-1]
        drawn = self.masks[trial].draw(share, (self.rows_each, own, inner), part.dtype)
        if own == self.width:
            return drawn.view(-1, inner)
        kept = part.new_zeros((self.rows_each, self.width, inner), dtype=torch.bool)
        kept[:, :own] = drawn
        return kept.view(-1, inner)


class PackedTrainer:
    """Advances its members together, one step at a time.

    Args:
        model: Base model; while a step is under way its modules stand in for all adapters.
        stream: Where batches come from.
        recipe: What is the same for every trial.
        max_rows: A pass with more rows raises `MemoryError`; ``None``: as many as there is room.
    """

    def __init__(
        self,
        model: LanguageModel,
        stream: MixtureStream,
        recipe: Recipe,
        max_rows: int | None = None,
    ) -> None:
        self._model = model
        self._stream = stream
        self._recipe = recipe
        self._max_rows = max_rows
        self._path, self._layers = model.layers()
        self._members: list[Member] = []
        self._linear: dict[str, GroupedLinear] = {}
        self._live: list[int] = []
        self._of_norm = torch.empty(0, dtype=torch.int64)
        self._changed = False

    @property
    def members(self) -> tuple[Member, ...]:
        """Return the trials of the pack."""
        return tuple(self._members)

    def join(self, member: Member) -> None:
        """Take a trial in from the next step on."""
        self._members.append(member)
        self._changed = True

    def leave(self, member: Member) -> None:
        """Let a trial go; it can join again, here or elsewhere."""
        self._members.remove(member)
        self._changed = True

    def step(self) -> dict[Member, DivergedError]:
        """Take one step of every member; return those that diverged, which took none.

        Raises:
            MemoryError: More rows than `max_rows`, or the machine has no room. Nobody took a step.
            torch.OutOfMemoryError: Likewise, on a GPU.
        """
        rows = len(self._members) * self._recipe.batch_size
        if self._max_rows is not None and rows > self._max_rows:
            raise MemoryError(f"no room for {rows} rows in one pass, only for {self._max_rows}")
        if self._changed:
            self._arrange()
        members = self._members
        drawn = [member.rows for member in members]
        losses = self._differentiate(drawn)
        norms = self._norms()
        failed: dict[Member, DivergedError] = {}
        for member, rows_of, loss, norm in zip(members, drawn, losses, norms, strict=True):
            step = member.step + 1
            what = "" if math.isfinite(norm) else "the gradient"
            what = what if math.isfinite(loss) else "the loss"
            if what:
                failed[member] = DivergedError(step, what, member.tokens)
                continue
            self._update(member, norm, step)
            member.advance(loss, sum(len(r.ids) for r in rows_of), _labelled(rows_of))
        return failed

    def _arrange(self) -> None:
        """Stack the members' matrices; afterwards their tensors are views of the stacks."""
        path = self._path
        self._members.sort(key=lambda m: (m.start_layer(path), m.adapter.places[0].rank))
        starts = [m.start_layer(path) for m in self._members]
        self._live = [sum(s <= i for s in starts) for i in range(len(self._layers))]
        at: dict[str, dict[tuple[int, bool], list[tuple[int, Place]]]] = {}
        for trial, member in enumerate(self._members):
            for place in member.adapter.places:
                kind = (place.rank, place.dropout > 0)
                at.setdefault(place.path, {}).setdefault(kind, []).append((trial, place))
        self._linear = {}
        owners: list[int] = []
        for name, kinds in at.items():
            groups = [self._group(entries) for entries in kinds.values()]
            self._linear[name] = GroupedLinear(self._model.hf.get_submodule(name), groups)
            owners += [t for group in groups for _ in range(2) for t in group.trials]
        self._of_norm = torch.tensor(owners, device=self._model.device)
        self._changed = False

    def _group(self, entries: Sequence[tuple[int, Place]]) -> Group:
        trials = [t for t, _ in entries]
        places = [p for _, p in entries]
        params = [self._members[t].adapter.params for t in trials]
        group = Group(
            trials,
            [params[i][p.down] for i, p in enumerate(places)],
            [params[i][p.up] for i, p in enumerate(places)],
            [p.scaling for p in places],
            [p.dropout for p in places],
        )
        for i, (trial, place) in enumerate(entries):
            member = self._members[trial]
            params[i][place.down], params[i][place.up] = group.down[i], group.up[i]
            member.grads[place.down] = group.down_grad[i]
            member.grads[place.up] = group.up_grad[i]
        return group

    def _differentiate(self, drawn: Sequence[list[Encoded]]) -> list[float]:
        """Leave the gradients in the groups' buffers; return each trial's loss."""
        model, device = self._model, self._model.device
        batch = collate(model, [row for rows in drawn for row in rows])
        labels = torch.tensor([_labelled(rows) for rows in drawn])
        owner = torch.arange(len(drawn)).repeat_interleave(labels).to(device)
        share = (1 / labels.double()).to(device)
        under_way = _Pass(
            self._recipe.batch_size,
            batch.input_ids.shape[1],
            [max(len(r.ids) for r in rows) for rows in drawn],
            [Masks(step_seed(m.seed, m.step + 1), device) for m in self._members],
        )
        with self._stand_in(under_way):
            logits = model.logits_at(batch.input_ids, batch.predicts)
            each = cross_entropy(at_least_single(logits), batch.labels, reduction="none")
            each = each * share[owner].to(each.dtype)
            each.sum().backward()
        losses = share.new_zeros(len(drawn)).index_add_(0, owner, each.detach().double())
        found: list[float] = losses.tolist()
        return found

    def _norms(self) -> list[float]:
        """Return the norm of each trial's gradient, all matrices together."""
        stacks = [
            grad
            for linear in self._linear.values()
            for group in linear.groups
            for grad in (group.down_grad, group.up_grad)
        ]
        every = torch.cat([torch.linalg.vector_norm(s, dim=(1, 2)) for s in stacks]).double()
        total = every.new_zeros(len(self._members)).index_add_(0, self._of_norm, every.square())
        norms: list[float] = total.sqrt().tolist()
        return norms

    @torch.no_grad()
    def _update(self, member: Member, norm: float, step: int) -> None:
        """AdamW (Loshchilov and Hutter, 2019) with global clipping, one fused sweep."""
        recipe = self._recipe
        names = list(member.m)
        grads = [member.grads[n] for n in names]
        if norm > recipe.max_grad_norm > 0:
            torch._foreach_mul_(grads, recipe.max_grad_norm / (norm + 1e-6))
        steps = [torch.tensor(float(step), device=self._model.device)] * len(names)
        torch._fused_adamw_(
            [member.adapter.params[n] for n in names],
            grads,
            [member.m[n] for n in names],
            [member.v[n] for n in names],
            [],
            steps,
            lr=learning_rate(recipe, member.peak, step),
            beta1=recipe.betas[0],
            beta2=recipe.betas[1],
            weight_decay=recipe.weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    @contextmanager
    def _stand_in(self, under_way: _Pass) -> Iterator[None]:
        """Put the pack's forwards onto the base model; take them away at the end."""
        rows_each = under_way.rows_each
        changed: list[nn.Module] = []
        try:
            for name, linear in self._linear.items():
                module = self._model.hf.get_submodule(name)
                trials = self._live[_layer_of(name, self._path)]
                _put(module, _bound(linear, trials, under_way))
                changed.append(module)
            for layer, live in zip(self._layers, self._live, strict=True):
                if live < len(self._members):
                    split = SplitLayer(layer)
                    split.live = live * rows_each
                    _put(layer, split)
                    changed.append(layer)
            yield
        finally:
            for module in changed:
                del module.forward


def _bound(linear: GroupedLinear, trials: int, under_way: _Pass) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():  # rows that no adapter has touched yet
            return linear.plain(x)
        return linear(x, trials, under_way.draw)

    return forward


def _put(module: nn.Module, forward: Callable[..., object]) -> None:
    module.__dict__["forward"] = forward


def _layer_of(path: str, layers: str) -> int:
    return int(path.removeprefix(f"{layers}.").split(".", 1)[0])


def _labelled(rows: Sequence[Encoded]) -> int:
    return sum(len(r.ids) - r.answer for r in rows)


@torch.no_grad()
def why_unpacked(model: LanguageModel) -> str:
    """Return why trials cannot share a pass over `model`, empty where they can.

    It must be the same in training as in scoring (no dropout of its own), and each linear module of
    a layer must see every position of every row once, in order.
    """
    path, layers = model.layers()
    ids = torch.arange(10, device=model.device).view(2, 5) % model.hf.config.vocab_size
    seen: dict[str, list[int]] = {}
    hooks = []
    for i, layer in enumerate(layers):
        for name in linear_paths(layer):
            full = f"{path}.{i}.{name}"

            def note(_module: nn.Module, args: tuple[Tensor], full: str = full) -> None:
                seen.setdefault(full, []).append(args[0].numel() // args[0].shape[-1])

            hooks.append(layer.get_submodule(name).register_forward_pre_hook(note))
    where = torch.ones_like(ids, dtype=torch.bool)
    try:
        calm = model.logits_at(ids, where)
    finally:
        for hook in hooks:
            hook.remove()
    odd = sorted(name for name, counts in seen.items() if counts != [ids.numel()])
    if odd:
        return f"{odd[0]} does not see every position once"
    with torch.random.fork_rng(devices=[model.device] if model.device.type == "cuda" else []):
        model.hf.train()
        try:
            busy = model.logits_at(ids, where)
        finally:
            model.hf.eval()
    return "" if torch.equal(calm, busy) else "the base model has dropout of its own"
