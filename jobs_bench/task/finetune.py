"""What a fine-tuning task hands to the shared evaluator: rows, questions, recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

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


Grader = Callable[[str, str], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Generate:
    """A question answered by free greedy text.

    Attributes:
        id: Stable name.
        context: Prompt without trailing space.
        gold: The gold answer as it would be written after the delimiter (for ``gold_bpb``).
        delimiter: Text between context and gold.
    """

    id: str
    context: str
    gold: str
    delimiter: str = " "


Question = Choice | Exact | Generate


@dataclass(frozen=True, slots=True)
class Generation:
    """How `Generate` questions are answered and graded.

    Attributes:
        stop: Texts that end the answer (they are cut off), beside the end token.
        max_new_tokens: Longest answer.
        grade: From generated text and gold answer to named values in ``[0, 1]``.
    """

    stop: tuple[str, ...]
    max_new_tokens: int
    grade: Grader


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
