"""An analytic multi-fidelity problem, without torch, to try strategies on.

A trial's score follows a power law towards a limit that depends on mixture *and* configuration:
``limit(z) = -(z - z*)' M (z - z*)`` in Hellinger coordinates ``z``, where `M` couples each data
coordinate with a model coordinate by `interaction`. The best configuration is planted, so regret is
known. Everything is a function of (seed, configuration, step): two trials of one configuration
differ by their noise only.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np

from jobs_bench.budget import Budget, Category, Charge, Ledger
from jobs_bench.fidelity import Capability, Fidelity
from jobs_bench.space.axes import Categorical, Float, Int, Subset
from jobs_bench.space.configuration import Configuration, Mixture
from jobs_bench.space.native import NativeEncoding
from jobs_bench.space.simplex import Simplex
from jobs_bench.space.space import Condition, Space
from jobs_bench.strategy.contract import Problem
from jobs_bench.texts import Texts
from jobs_bench.trial import Outcome, Point, Segment, Status, Value

FULL_RUN_FLOP = 1e12
FULL_RUN_TOK = 100_000
SCORING = 0.005
"""Cost of scoring a merged trial, in full runs; other evaluations cost nothing here."""


def small_space(domains: int = 3) -> Space:
    """Return a mixture with rank, dropout, module flags and learning rate."""
    names = tuple(f"d{i}" for i in range(domains))
    return Space(
        (
            Simplex("mixture", names),
            Int("r", 1, 64, log=True, default=8),
            Float("lora_dropout", 0.0, 0.2, default=0.0),
            Subset("target_modules", ("attention", "mlp")),
            Float("learning_rate", 1e-5, 5e-3, log=True, default=2e-4, block="train"),
        )
    )


def conditional_space() -> Space:
    """Return a space with a floor, caps, a category and axes that exist under a method only."""
    return Space(
        (
            Simplex("mixture", ("a", "b", "c", "d"), floor=0.05, caps=(1.0, 0.6, 0.5, 0.4)),
            Categorical("method", ("lora", "full", "ia3")),
            Int("r", 1, 16, default=4),
            Float("scaling", 0.25, 8.0, log=True),
            Subset("target_modules", ("q", "v", "up"), min=2),
            Float("learning_rate", 1e-5, 5e-3, log=True, block="train"),
        ),
        (
            Condition("r", "method", ("lora",)),
            Condition("scaling", "method", ("lora",)),
            Condition("target_modules", "method", ("lora", "ia3")),
        ),
    )


def discrete_space() -> Space:
    """Return a space of integers and names beside the mixture, one axis with a single value."""
    return Space(
        (
            Simplex("mixture", ("x", "y")),
            Int("num_layers", 1, 4, default=4),
            Int("r", 8, 8),
            Categorical("placement", ("first", "last")),
        )
    )


def pool(space: Space, mixtures: int, others: int, seed: int = 0) -> tuple[Configuration, ...]:
    """Return a grid of `mixtures` data blocks by `others` other blocks, the defaults among them."""
    rng = np.random.default_rng(seed)
    drawn = [space.default(), *(space.sample(rng) for _ in range(max(mixtures, others) - 1))]
    data = {axis.name for axis in space.axes if axis.block == "data"}
    grid = []
    for a, b in itertools.product(drawn[:mixtures], drawn[:others]):
        grid.append(Configuration({n: (a if n in data else b)[n] for n in b}))
    return tuple(dict.fromkeys(grid))


CAPABILITIES: Final[tuple[Capability, ...]] = (
    "resume",
    "curves",
    "domain_losses",
    "texts",
    "logprobs",
    "reweight",
    "domain_gradients",
    "merge",
)


@dataclass(frozen=True, slots=True)
class Synthetic:
    """The problem.

    Attributes:
        space: Any space.
        fidelity: Allowed steps.
        interaction: Coupling of data and model coordinates, ``[0, 1)``.
        noise: Standard deviation of a score.
        seed: Of the planted optimum and the noise.
        fail_share: Share of trials that fail, ``[0, 1]``.
        nan_share: Share of trials whose scores are NaN although they end well, ``[0, 1]``.
        candidates: Pool, or ``None``.
    """

    space: Space = field(default_factory=small_space)
    fidelity: Fidelity = field(default_factory=lambda: Fidelity((1, 3, 9, 27, 54, 81)))
    interaction: float = 0.5
    noise: float = 0.01
    seed: int = 0
    fail_share: float = 0.0
    nan_share: float = 0.0
    candidates: tuple[Configuration, ...] | None = None

    def problem(
        self,
        budget: str = "8x",
        workers: int = 1,
        capabilities: Sequence[Capability] = CAPABILITIES,
    ) -> Problem:
        """Return what a strategy is told."""
        limit = Budget.parse(budget)
        return Problem(
            space=self.space,
            fidelity=self.fidelity,
            budget=limit,
            cost=lambda config, start, until: self._cost(config, start, until, limit),
            default=self.space.default(),
            domains=tuple((d, 1000) for d in self._domains()),
            candidates=self.candidates,
            capabilities=frozenset(capabilities),
            workers=workers,
            texts=self.texts,
        )

    def texts(self) -> Texts:
        """Return rows in which every domain has words of its own, and a target of the optimum."""
        planted = [v for v in self.optimum().values() if isinstance(v, Mixture)]
        shares = {d: w for m in planted for d, w in m.items()}
        rows = {d: [f"{d} word{i % 7} word{i % 5}" for i in range(40)] for d in self._domains()}
        target = [row for d, w in shares.items() for row in rows[d][: round(40 * w)]]
        return Texts(rows, target or ["word0"])

    def ledger(self) -> Ledger:
        """Return an empty ledger in this problem's unit."""
        return Ledger(FULL_RUN_FLOP)

    def optimum(self) -> Configuration:
        """Return the planted configuration, whose limit is 0, the highest there is."""
        return _planted(self.space, self.seed, self.candidates)

    def limit(self, config: Configuration) -> float:
        """Return the score of endless training, ``(-inf, 0]``."""
        encoding = NativeEncoding(self.space)
        z = _coordinates(encoding, config) - _coordinates(encoding, self.optimum())
        data = [i for i, c in enumerate(encoding.columns) if c.kind == "weight"]
        model = [i for i, c in enumerate(encoding.columns) if c.kind != "weight"]
        crossed = sum(z[i] * z[j] for i, j in zip(data, itertools.cycle(model), strict=False))
        # |z_i z_j| <= (z_i^2 + z_j^2) / 2; a model coordinate may meet several data coordinates
        share = max(1, math.ceil(len(data) / max(len(model), 1)))
        return -float(z @ z + 2 * self.interaction / share * (crossed if model else 0.0))

    def truth(self, config: Configuration, step: int | None = None) -> float:
        """Return the noise-free score at `step`, at the horizon by default."""
        horizon = self.fidelity.horizon
        done = (horizon if step is None else step) / horizon
        # slow learners cross fast ones: the rate depends on the configuration
        rate = 0.3 + 0.7 * _uniform(self.seed, "rate", config.key())
        gap = math.pow(0.05 + done, -rate) - math.pow(1.05, -rate)
        return self.limit(config) - 0.5 * gap

    def run(self, segment: Segment) -> Outcome:
        """Return the outcome of a segment.

        A merged trial scores as if its configuration had been trained.
        """
        status = self._status(segment)
        steps = [s for s in self.fidelity.steps if segment.start < s <= segment.until]
        steps = [segment.until] if segment.merge else steps
        if status != "ok":
            steps = steps[:-1]
        points = tuple(
            Point(
                s,
                self._value(segment, s),
                domain_losses=self._domain_losses(segment, s),
                items=self._items(segment, s),
            )
            for s in steps
        )
        share = self._share(segment.config, segment.start, segment.until)
        kind: Category = "eval" if segment.merge else "train"
        charge = Charge(kind, round(FULL_RUN_TOK * share), FULL_RUN_FLOP * share, share)
        return Outcome(segment, status, points, (charge,), "" if status == "ok" else "injected")

    def _status(self, segment: Segment) -> Status:
        if _uniform(self.seed, "fail", segment.seed) >= self.fail_share:
            return "ok"
        kinds: tuple[Status, ...] = ("diverged", "oom", "timeout", "crashed", "lost")
        return kinds[int(5 * _uniform(self.seed, "kind", segment.seed))]

    def _value(self, segment: Segment, step: int) -> Value:
        if _uniform(self.seed, "nan", segment.seed) < self.nan_share:
            return Value(math.nan)
        u = _uniform(self.seed, "u", segment.seed, step)
        v = _uniform(self.seed, "v", segment.seed, step)
        normal = math.sqrt(-2 * math.log(1 - u)) * math.cos(2 * math.pi * v)
        return Value(self.truth(segment.config, step) + self.noise * normal, self.noise, 100)

    def _domain_losses(self, segment: Segment, step: int) -> dict[str, float]:
        """Return ``1 + (exp(-2 share) - .1 score) step^-0.3`` of each domain, without noise."""
        if _uniform(self.seed, "nan", segment.seed) < self.nan_share:
            return dict.fromkeys(self._domains(), math.nan)
        rest = 0.1 * self.limit(segment.config)
        shares = {
            d: w for m in segment.config.values() if isinstance(m, Mixture) for d, w in m.items()
        }
        return {d: 1.0 + (math.exp(-2 * w) - rest) * step**-0.3 for d, w in shares.items()}

    def _items(self, segment: Segment, step: int) -> dict[str, tuple[float, ...]]:
        """Return log-probabilities of questions that each look like one domain's rows."""
        losses = self._domain_losses(segment, step)
        planted = [v for v in self.optimum().values() if isinstance(v, Mixture)]
        shares = {d: w for m in planted for d, w in m.items()}
        asked = [d for d, w in shares.items() for _ in range(round(20 * w))] or list(losses)
        return {"gold_logprob": tuple(-5 * losses[d] for d in asked)} if asked else {}

    def _domains(self) -> tuple[str, ...]:
        return tuple(d for s in self.space.simplexes for d in s.domains)

    def _share(self, config: Configuration, start: int, until: int) -> float:
        """Return the cost of a segment in full runs."""
        done = (until - start) / self.fidelity.horizon
        return _size(config) * (SCORING if start == until else done)

    def _cost(self, config: Configuration, start: int, until: int, budget: Budget) -> float:
        share = self._share(config, start, until)
        scale = {"x": 1.0, "tok": FULL_RUN_TOK, "flop": FULL_RUN_FLOP, "s": 1.0}[budget.currency]
        return share * scale


@lru_cache(maxsize=64)
def _planted(
    space: Space, seed: int, candidates: tuple[Configuration, ...] | None
) -> Configuration:
    rng = np.random.default_rng(seed)
    if candidates:
        return candidates[int(rng.integers(len(candidates)))]
    return space.sample(rng)


def _size(config: Configuration) -> float:
    """Return how much dearer a step of `config` is than one of rank 8: at most a fifth."""
    r = config.get("r", 8)
    return 1.0 + 0.1 * (math.log2(float(r)) / 3 - 1) if isinstance(r, int) else 1.0


def _coordinates(encoding: NativeEncoding, config: Configuration) -> np.ndarray:
    z = encoding.hellinger(encoding.encode(config))
    for i in encoding.of_kind("category"):
        z[i] /= encoding.columns[i].levels[-1] or 1.0
    return np.asarray(z / math.sqrt(len(z)) * 2)


def _uniform(*parts: object) -> float:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
