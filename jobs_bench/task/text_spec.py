"""What a text task is made of, the checks on it, and the hash that names it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Final

from jobs_bench.errors import InputError, OptionError, UnknownNameError
from jobs_bench.fidelity import Capability, Fidelity
from jobs_bench.space.presets import lora_space, paper_space
from jobs_bench.space.simplex import Simplex, share_caps
from jobs_bench.space.space import Space
from jobs_bench.task.contract import Metric, ModelFacts, References
from jobs_bench.task.finetune import Domain, Generation, Question, Recipe
from jobs_bench.task.leakage import LeakReport
from jobs_bench.task.tokens import bpe_tokens

# goes into every signature: raise it when the meaning of the same spec changes
SIGNATURE_VERSION: Final = 1

ACC: Final = Metric("acc")
ACC_NORM: Final = Metric("acc_norm")
EXACT_MATCH: Final = Metric("exact_match")
GOLD_BPB: Final = Metric("gold_bpb", higher_is_better=False, high=math.inf)
WORD_PERPLEXITY: Final = Metric("word_perplexity", higher_is_better=False, low=1.0, high=math.inf)
BYTE_PERPLEXITY: Final = Metric("byte_perplexity", higher_is_better=False, low=1.0, high=math.inf)
BITS_PER_BYTE: Final = Metric("bits_per_byte", higher_is_better=False, high=math.inf)


@dataclass(frozen=True, slots=True)
class TextSpec:
    """What a text task is made of.

    Attributes:
        name: As registered.
        summary: One sentence.
        model: Facts of the base model.
        domains: Training domains, at least one.
        visible: Questions that strategies see the score of.
        hidden: Questions of the oracle.
        recipe: What is the same for every trial.
        metrics: Every metric it reports.
        metric: Name of the one behind the score.
        search: The search space; its mixture axis names exactly `domains`, in order.
        generation: For `Generate` questions.
        licence: Of the data.
        reference: Paper or source.
        tags: See `TaskInfo`.
        references: Frozen reference scores; ``None``: the default recipe alone.
        estimate_tokens: About how many tokens a text has, for planned costs only: charges are
            made with the tokens that were.
        leaks: What was dropped from the training rows.
        capabilities: What strategies may ask of it.
    """

    name: str
    summary: str
    model: ModelFacts
    domains: tuple[Domain, ...]
    visible: tuple[Question, ...]
    hidden: tuple[Question, ...]
    recipe: Recipe
    metrics: tuple[Metric, ...]
    metric: str
    search: Space
    generation: Generation | None = None
    licence: str = ""
    reference: str = ""
    tags: tuple[str, ...] = ()
    references: References | None = None
    estimate_tokens: Callable[[str], float] = bpe_tokens
    leaks: LeakReport | None = None
    capabilities: frozenset[Capability] = frozenset(
        {
            "resume",
            "fork",
            "curves",
            "domain_losses",
            "texts",
            "logprobs",
            "reweight",
            "domain_gradients",
            "merge",
        }
    )


def mixture_axis(
    domains: Sequence[Domain],
    recipe: Recipe,
    *,
    floor: float = 0.01,
    max_epochs: float | Sequence[float] = 4.0,
) -> Simplex:
    """Return the mixture axis over `domains`, capped by their rows.

    Args:
        domains: In the order of the axis.
        recipe: Its horizon and batch size say how many rows a full run draws.
        floor: Weights below it become 0.
        max_epochs: How often a row may be drawn in a full run: one limit or one a domain. Up to
            four repetitions are nearly as good as new data (Muennighoff et al. 2023).

    Raises:
        SpaceError: The domains cannot feed a full run.
    """
    rows = [len(domain.rows) for domain in domains]
    drawn = recipe.fidelity.horizon * recipe.batch_size
    return Simplex(
        "mixture",
        tuple(domain.name for domain in domains),
        floor=min(floor, 1 / len(rows)),
        caps=share_caps(rows, drawn, max_epochs),
        prior=tuple(n / sum(rows) for n in rows),
    )


def preset_space(preset: str, mixture: Simplex, n_layers: int) -> Space:
    """Return the space called `preset` around a mixture axis.

    Raises:
        UnknownNameError: There is no such preset.
    """
    if preset == "lora":
        return lora_space(mixture, n_layers)
    if preset == "paper":
        return paper_space(mixture, n_layers)
    raise UnknownNameError("space", preset, ("lora", "paper"))


def steps_of(horizon: int, shares: Sequence[float] = (0.1, 0.25, 0.5, 1.0)) -> Fidelity:
    """Return evaluation steps at `shares` of `horizon`, rounded, at least 1, without repetition.

    Raises:
        OptionError: A horizon below 1.
    """
    if horizon < 1:
        raise OptionError(f"got horizon={horizon}; wanted at least 1 step")
    return Fidelity(tuple(sorted({max(1, round(horizon * share)) for share in shares})))


def score_metric(spec: TextSpec) -> Metric:
    """Return the metric behind the score.

    Raises:
        UnknownNameError: It is not among the spec's metrics.
    """
    for metric in spec.metrics:
        if metric.name == spec.metric:
            return metric
    raise UnknownNameError("metric", spec.metric, [m.name for m in spec.metrics])


def check_spec(spec: TextSpec) -> None:
    """Check that the parts of `spec` go together.

    Raises:
        InputError: They do not, or a training row is an evaluation question.
    """
    score_metric(spec)
    names = tuple(domain.name for domain in spec.domains)
    mixtures = [axis.domains for axis in spec.search.simplexes]
    if mixtures != [names]:
        raise InputError(
            f"got mixture axes over {mixtures}; wanted one over {names}, in this order"
        )
    empty = [domain.name for domain in spec.domains if not domain.rows]
    if empty or not spec.visible or not spec.hidden:
        what = f"the domains {empty} without rows" if empty else "no visible or no hidden questions"
        raise InputError(f"task {spec.name}: got {what}; wanted at least one each")
    longest = spec.recipe.max_length
    if not 2 <= longest <= spec.model.context:
        raise OptionError(
            f"got max_length={longest}; wanted [2, {spec.model.context}], the model's"
        )
    # the last line of defence: a set that went through `drop_leaks` has none of these
    contexts = {q.context: q.id for q in (*spec.visible, *spec.hidden) if q.context}
    for domain in spec.domains:
        for row in (*domain.rows, *domain.held_out):
            if row.prompt in contexts:
                raise InputError(
                    f"the training domain {domain.name!r} holds the evaluation question "
                    f"{contexts[row.prompt]!r}: {row.prompt[:80]!r}; wanted rows that do not: "
                    "filter them with drop_leaks"
                )


def signature(spec: TextSpec) -> str:
    """Return 32 hexadecimal digits that name all on which comparable results must agree.

    Rows and questions as they are rendered (hence data and templates), recipe, space, metric,
    grader, base model and `SIGNATURE_VERSION`.
    """
    digest = hashlib.sha256()
    for part in _parts(spec):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(f"{len(encoded)}:".encode() + encoded)
    return digest.hexdigest()[:32]


def _parts(spec: TextSpec) -> Iterable[str]:
    yield f"{SIGNATURE_VERSION} {spec.name} {spec.metric} {spec.model.digest}"
    yield repr(spec.recipe)
    yield repr(spec.search)
    generation = spec.generation
    if generation is not None and generation.grade is None:
        yield f"{generation.stop} {generation.max_new_tokens}"
    elif generation is not None:
        grader = generation.grade
        name = f"{grader.__module__}.{getattr(grader, '__qualname__', type(grader).__qualname__)}"
        yield f"{generation.stop} {generation.max_new_tokens} {name}"
    for domain in spec.domains:
        yield f"{domain.name} {len(domain.rows)} {len(domain.held_out)}"
        for row in (*domain.rows, *domain.held_out):
            yield row.prompt
            yield row.answer
    for label, questions in (("visible", spec.visible), ("hidden", spec.hidden)):
        yield f"{label} {len(questions)}"
        for question in questions:
            yield type(question).__name__
            values = [getattr(question, f.name) for f in fields(question)]
            yield from (repr(value) for value in values if value is not None)
