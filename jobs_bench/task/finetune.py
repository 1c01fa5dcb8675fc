"""What a fine-tuning task hands to the shared evaluator: rows, questions, recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from jobs_bench.fidelity import Fidelity


@dataclass(frozen=True, slots=True)
class Row:
    """One training example; the loss is on `answer` and the end token only.

    Attributes:
        prompt: Text before the answer, without trailing space.
        answer: Text of the answer, *with* its leading delimiter (usually a space).
    """

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Domain:
    """Training rows from one source.

    Attributes:
        name: Short name, unique in the task.
        rows: At least one.
        held_out: Rows kept back, on which the domain's loss is measured.
        source: Where the rows come from.
        licence: Of the rows.
    """

    name: str
    rows: Sequence[Row]
    held_out: Sequence[Row] = ()
    source: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A multiple-choice question, scored by the log-likelihood of each option after the context.

    ``acc``: the option with the largest sum of log-probabilities, ties to the lowest index, is the
    gold one. ``acc_norm``: the same with each sum divided by the option's length in characters,
    without the delimiter. ``gold_bpb``: bits per UTF-8 byte of delimiter and gold option.

    Attributes:
        id: Stable name; it decides on which side of the visible/hidden split the question falls.
        context: Prompt without trailing space.
        options: At least two.
        gold: Index of the right one.
        delimiter: Text between context and option.
    """

    id: str
    context: str
    options: tuple[str, ...]
    gold: int
    delimiter: str = " "


@dataclass(frozen=True, slots=True)
class Exact:
    """A question with one short right answer.

    ``exact_match``: greedy decoding would give exactly the answer and the end token (checked in one
    teacher-forced pass: the two are equal). ``gold_bpb`` as in `Choice`.
    """

    id: str
    context: str
    answer: str
    delimiter: str = " "


class PairsRule(Protocol):
    """Turns log-likelihoods into metrics.

    A frozen dataclass whose ``repr`` says all of it: that goes into the task's signature.
    """

    def __call__(self, totals: Sequence[float], greedy: Sequence[bool]) -> Mapping[str, float]:
        """Return named values of the log-likelihoods (nats) of a question's pairs.

        Args:
            totals: One sum a pair.
            greedy: Whether greedy decoding would have given the pair's continuation.
        """
        ...


@dataclass(frozen=True, slots=True)
class Pairs:
    """Contexts and continuations that a rule of the question's own grades.

    ``gold_bpb`` as in `Choice`.

    Attributes:
        id: Stable name.
        pairs: (context without trailing space, continuation with its delimiter), at least one.
        rule: Makes the metrics.
        gold: Index of a right pair, for ``gold_bpb``.
    """

    id: str
    pairs: tuple[tuple[str, str], ...]
    rule: PairsRule
    gold: int = 0

    @property
    def context(self) -> str:
        """Return the first pair's context."""
        return self.pairs[0][0]


Grader = Callable[[str, str], Mapping[str, float]]


class TextRule(Protocol):
    """Turns an answer into metrics. A frozen dataclass, as `PairsRule`."""

    def __call__(self, answer: str) -> Mapping[str, float]:
        """Return named values of the generated text, cut at the first stop text."""
        ...


@dataclass(frozen=True, slots=True)
class Generate:
    """A question answered by free greedy text.

    Attributes:
        id: Stable name.
        context: Prompt without trailing space.
        gold: The gold answer as it would be written after the delimiter (for ``gold_bpb``).
        delimiter: Text between context and gold.
        rule: Grades the answer; ``None``: the task's grader does, from answer and gold.
    """

    id: str
    context: str
    gold: str
    delimiter: str = " "
    rule: TextRule | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that is scored whole, each token after those before it.

    ``word_perplexity`` and ``byte_perplexity`` are ``exp(-L / n)``, ``bits_per_byte`` is
    ``-L / n / ln 2``, with ``L`` the log-likelihood of all passages in nats and ``n`` their words
    or bytes. A text longer than the model's context is cut into windows of that length, and each
    token is predicted in one: the first begins after the beginning token, a later one after the
    token before it, and the last reaches back so that it is full.

    Attributes:
        id: Stable name.
        text: As the model reads it.
        words: What perplexity a word divides by, at least 1.
        n_bytes: What perplexity and bits a byte divide by, at least 1.
    """

    id: str
    text: str
    words: int
    n_bytes: int

    @property
    def context(self) -> str:
        """Return the empty prompt."""
        return ""


Question = Choice | Exact | Pairs | Generate | Passage


def answered(question: Question) -> str:
    """Return a question with its right answer behind it."""
    return gold_context(question) + right_answer(question)


def gold_context(question: Question) -> str:
    """Return what the right answer follows."""
    return question.pairs[question.gold][0] if isinstance(question, Pairs) else question.context


def right_answer(question: Question) -> str:
    """Return what should follow the context, delimiter included; a passage is its own answer."""
    if isinstance(question, Passage):
        return question.text
    if isinstance(question, Pairs):
        return question.pairs[question.gold][1]
    if isinstance(question, Choice):
        return question.delimiter + question.options[question.gold]
    if isinstance(question, Exact):
        return question.delimiter + question.answer
    return question.delimiter + question.gold


@dataclass(frozen=True, slots=True)
class Generation:
    """How `Generate` questions are answered and graded.

    Attributes:
        stop: Texts that end the answer (they are cut off), beside the end token.
        max_new_tokens: Longest answer.
        grade: From generated text and gold answer to named values, mostly in ``[0, 1]``; ``None``
            where every question has a rule.
    """

    stop: tuple[str, ...]
    max_new_tokens: int
    grade: Grader | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is the same for every trial of a task.

    Attributes:
        fidelity: Evaluation steps and horizon; the schedule is defined on the horizon.
        batch_size: Rows a step.
        max_length: Longest row in tokens; longer prompts lose their beginning.
        warmup_steps: Linear warm-up.
        schedule: ``linear`` decays to `final_lr` times the peak at the horizon, ``cosine`` as well.
        final_lr: Share of the peak learning rate left at the horizon, ``[0, 1]``.
        weight_decay: AdamW's.
        betas: AdamW's.
        max_grad_norm: Global gradient clipping.
        learning_rate: Used where the space has no such axis.
        sampling: ``stratified`` (counts within 1.5 of their target at any step) or ``iid``.
        eval_tokens: Padded tokens of an evaluation batch.
    """

    fidelity: Fidelity
    batch_size: int = 16
    max_length: int = 256
    warmup_steps: int = 10
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    final_lr: float = 0.1
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = 1.0
    learning_rate: float = 3e-4
    sampling: Literal["stratified", "iid"] = "stratified"
    eval_tokens: int = 4096


@dataclass(frozen=True, slots=True)
class FineTune:
    """Everything the shared evaluator needs.

    Attributes:
        domains: Training domains, in the order of the mixture axis.
        visible: Questions whose score strategies see.
        hidden: Questions of the oracle.
        recipe: What is the same for every trial.
        metric: Name of the metric behind the score.
        higher_is_better: Its direction.
        model_path: Local folder of the base model.
        generation: For `Generate` questions.
    """

    domains: tuple[Domain, ...]
    visible: tuple[Question, ...]
    hidden: tuple[Question, ...]
    recipe: Recipe
    metric: str
    higher_is_better: bool
    model_path: str
    generation: Generation | None = None
