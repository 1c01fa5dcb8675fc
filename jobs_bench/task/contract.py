"""The contract every task meets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from jobs_bench.budget import Charge
from jobs_bench.fidelity import Capability, Fidelity
from jobs_bench.space.configuration import Configuration
from jobs_bench.space.space import Space
from jobs_bench.task.finetune import FineTune
from jobs_bench.texts import Texts
from jobs_bench.trial import Outcome, Segment


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured quantity.

    Attributes:
        name: As lm-evaluation-harness names it where it has it (``acc``, ``acc_norm``, ...).
        higher_is_better: Direction; the score of a lower-is-better metric is its negative.
        low: Lowest possible value.
        high: Highest possible value.
    """

    name: str
    higher_is_better: bool = True
    low: float = 0.0
    high: float = 1.0

    @property
    def score_bounds(self) -> tuple[float, float]:
        """Return the lowest and highest possible score."""
        return (self.low, self.high) if self.higher_is_better else (-self.high, -self.low)


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What is known of a task.

    Attributes:
        name: As registered.
        summary: One sentence.
        metric: The metric behind the score.
        metrics: Every metric it reports, that one included.
        domains: Training domains with their rows.
        items: Evaluation items, visible and hidden.
        licence: Of the data.
        deterministic: Same segments, same outcomes on one machine.
        reference: Paper or source.
        tags: Such as ``pocket``, ``in-domain``, ``table``.
        capabilities: What strategies may ask of it.
        parts: Metrics, each with its weight, of which the score is the weighted sum at every point
            (a loss has a negative weight); empty where it is no such sum.
    """

    name: str
    summary: str
    metric: Metric
    metrics: tuple[Metric, ...]
    domains: tuple[tuple[str, int], ...]
    items: tuple[int, int] = (0, 0)
    licence: str = ""
    deterministic: bool = True
    reference: str = ""
    tags: tuple[str, ...] = ()
    capabilities: frozenset[Capability] = frozenset({"resume", "fork", "curves", "domain_losses"})
    parts: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class References:
    """What results are set against.

    Attributes:
        default: The default recipe.
        random_baseline: Median score of random search at the budgets of the suite, frozen; ``None``
            where it was never measured.
        best_known: Best known score, frozen; ``None`` where unknown.
        noise_floor: Standard deviation of the score over training seeds; ``None`` where unknown.
    """

    default: Configuration
    random_baseline: float | None = None
    best_known: float | None = None
    noise_floor: float | None = None


class Evaluator(Protocol):
    """Runs segments. It keeps the checkpoints that later segments need."""

    def run(self, segments: Sequence[Segment]) -> Sequence[Outcome]:
        """Return one outcome a segment, in order; a failure is an outcome, never an exception."""
        ...

    def oracle(self, config: Configuration | None, seeds: Sequence[int]) -> Sequence[Outcome]:
        """Return full runs of `config` scored on the hidden items, one a seed.

        ``None`` stands for the base model, untrained: one outcome with a point at step 0.
        """
        ...

    def discard(self, trial_id: int) -> None:
        """Drop the checkpoints of a trial that will never be resumed."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


@runtime_checkable
class Reweights(Protocol):
    """The evaluator of a task with the capability ``reweight``: its segments obey controllers."""

    def controlled_oracle(
        self, config: Configuration, controller: str, seeds: Sequence[int]
    ) -> Sequence[Outcome]:
        """Return full runs of `config` under a controller on the hidden items, one a seed."""
        ...


class Workshop(Protocol):
    """What a task may ask of the runtime when it builds its evaluator."""

    @property
    def workdir(self) -> Path:
        """Folder for checkpoints."""
        ...

    def finetune(self, spec: FineTune) -> Evaluator:
        """Return the shared evaluator that trains adapters with PEFT and scores questions."""
        ...


@runtime_checkable
class Task(Protocol):
    """A space, a fidelity, and an evaluator."""

    @property
    def info(self) -> TaskInfo:
        """Return what is known of it."""
        ...

    def space(self) -> Space:
        """Return the search space."""
        ...

    def fidelity(self) -> Fidelity:
        """Return the steps at which trials can stand."""
        ...

    def cost(self, config: Configuration, start: int, until: int) -> tuple[Charge, ...]:
        """Return the expected charges of a segment, evaluations included; `s` is 0.

        With the capability ``merge``, where `start` is `until`: of scoring once, nothing trained.
        """
        ...

    def candidates(self) -> tuple[Configuration, ...] | None:
        """Return the finite pool of a pool task, else ``None``."""
        ...

    def references(self) -> References:
        """Return what results are set against."""
        ...

    def signature(self) -> str:
        """Return a hash of data, templates and code version; those of two do not mix."""
        ...

    def evaluator(self, workshop: Workshop) -> Evaluator:
        """Return a new evaluator."""
        ...


@runtime_checkable
class CanWarm(Protocol):
    """An evaluator that can do beforehand what every trial needs."""

    def warm(self, config: Configuration) -> None:
        """Load it; trials are like `config`. Outcomes stay the same, and no thread is left."""
        ...


@runtime_checkable
class HasTexts(Protocol):
    """A task with the capability ``texts``."""

    def texts(self) -> Texts:
        """Return the training rows and the visible questions."""
        ...


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a task may know of the base model without loading it.

    Attributes:
        name: As the user gave it.
        path: Local folder, with ``config.json``.
        digest: Hash of its configuration and the size of its weights.
        n_layers: Transformer layers.
        n_params: Parameters, tied ones once.
        hidden: Width of the residual stream.
        vocab: Vocabulary size.
        context: Longest sequence in tokens.
        kv_width: Output width of the key and value projections, 0: unknown.
        intermediate: Width of the feed-forward part, 0: unknown.
    """

    name: str
    path: Path
    digest: str
    n_layers: int
    n_params: int
    hidden: int
    vocab: int
    context: int
    kv_width: int = 0
    intermediate: int = 0


@dataclass(frozen=True, slots=True)
class TaskSetup:
    """What a task is built from.

    Attributes:
        model: Facts of the base model, ``None`` when the study has none (tables, functions).
        data_dir: Folder with data sets in the JSONL layout, ``None``: the user cache alone.
        options: From the task spec, as in ``gsm8k?horizon=100``; already typed by the task's
            annotations.
    """

    model: ModelFacts | None = None
    data_dir: Path | None = None
    options: Mapping[str, object] = field(default_factory=dict)


class TaskFactory(Protocol):
    """Makes a task; usually the class itself. Keyword parameters are its options.

    Attribute ``default_model`` (``str`` or ``None``) names the model used when the user gives none.
    """

    def __call__(self, setup: TaskSetup, **options: object) -> Task:
        """Return a new task.

        Raises:
            MissingError: Data that is not on this machine.
            DataError: Data that cannot be read.
            InputError: Options that cannot be.
        """
        ...
