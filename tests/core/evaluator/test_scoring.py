"""The scorer against the definitions, written out on all logits, one question at a time."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from jobs_bench.errors import DataError
from jobs_bench.evaluator import likelihood, scoring
from jobs_bench.evaluator.decoding import generate
from jobs_bench.evaluator.likelihood import score_requests
from jobs_bench.evaluator.scoring import Ratio, Scorer, summarise
from jobs_bench.evaluator.stops import cut
from jobs_bench.task.finetune import (
    Choice,
    Exact,
    Generate,
    Generation,
    Pairs,
    Passage,
    Row,
)
from jobs_bench.train.language_model import Branching, LanguageModel
from jobs_bench.trial import Value

EVAL_TOKENS = 256


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> LanguageModel:
    return LanguageModel(tiny_folder, torch.device("cpu"))


def _text(rng: random.Random, low: int, high: int) -> str:
    return "".join(rng.choice("abcdef12 ") for _ in range(rng.randint(low, high))).strip() or "a"


def _choices(n: int) -> list[Choice]:
    rng = random.Random(3)
    return [
        Choice(
            f"c{i}",
            f"q {_text(rng, 1, 20)}?",
            tuple(_text(rng, 1, 9) for _ in range(rng.randint(2, 5))),
            rng.randrange(2),
            delimiter=" " if i % 3 else ": ",
        )
        for i in range(n)
    ]


def _total(model: LanguageModel, context: str, continuation: str, *, end: bool = False) -> float:
    """Return the sum of log-probabilities of a continuation, from all logits of one row."""
    head = model.tokenizer(context, add_special_tokens=False)["input_ids"]
    whole = model.tokenizer(context + continuation, add_special_tokens=False)["input_ids"]
    whole = whole + [model.end_id] * end
    with torch.no_grad():
        logits = model.hf(input_ids=torch.tensor([whole])).logits[0].double()
    logprobs = torch.log_softmax(logits, dim=-1)
    return sum(float(logprobs[i - 1, whole[i]]) for i in range(len(head), len(whole)))


def _bpb(total: float, text: str) -> float:
    return -total / math.log(2) / len(text.encode())


def test_choices_are_scored_as_the_definition_says(model: LanguageModel) -> None:
    questions = _choices(30)
    acc, acc_norm, bpb = [], [], []
    for q in questions:
        totals = [_total(model, q.context, q.delimiter + o) for o in q.options]
        norms = [t / len(o) for t, o in zip(totals, q.options, strict=True)]
        acc.append(totals.index(max(totals)) == q.gold)
        acc_norm.append(norms.index(max(norms)) == q.gold)
        bpb.append(_bpb(totals[q.gold], q.delimiter + q.options[q.gold]))
    got = Scorer(model, questions, None, EVAL_TOKENS).score().metrics
    assert got["acc"].mean == pytest.approx(sum(acc) / 30)
    assert got["acc_norm"].mean == pytest.approx(sum(acc_norm) / 30)
    assert acc != acc_norm, "the questions tell the two apart"
    assert got["gold_bpb"].mean == pytest.approx(sum(bpb) / 30, rel=1e-5)
    assert got["acc"].n == 30


def test_ties_go_to_the_lowest_index(model: LanguageModel) -> None:
    for gold, right in ((0, 1.0), (1, 0.0), (2, 0.0)):
        tie = Choice("t", "which?", ("abc", "abc", "abc"), gold)
        got = Scorer(model, [tie], None, EVAL_TOKENS).score().metrics
        assert got["acc"].mean == right
        assert got["acc_norm"].mean == right


def _new_ids(model: LanguageModel, context: str, n: int) -> list[int]:
    """Return the tokens that generate adds to one context, alone."""
    ids = torch.tensor([model.encode(context)])
    out = model.hf.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=n,
        do_sample=False,
        use_cache=True,
        pad_token_id=model.pad_id,
        eos_token_id=model.end_id,
    )
    new: list[int] = out[0, ids.shape[1] :].tolist()
    return new


def _greedy(model: LanguageModel, context: str, n: int) -> str:
    """Return the text that generate answers to one context, alone."""
    new = _new_ids(model, context, n)
    return model.decode(new[: new.index(model.end_id)] if model.end_id in new else new)


def test_exact_match_is_what_greedy_decoding_gives(model: LanguageModel) -> None:
    rng = random.Random(5)
    ended: list[str] = []
    endless: list[str] = []
    while len(ended) < 5 or len(endless) < 5:
        context = f"{_text(rng, 2, 12)}?"
        new = _new_ids(model, context, 12)
        if model.end_id in new[1:]:
            ended.append(context)
        elif model.end_id not in new:
            endless.append(context)
    for context in (*ended[:5], *endless[:5]):
        whole = _greedy(model, context, 12)
        for answer in (whole, whole[:-1] or "b", whole + "a", "z"):
            question = Exact("e", context, answer, delimiter="")
            got = Scorer(model, [question], None, EVAL_TOKENS).score().metrics
            right = answer == whole and context in ended
            assert got["exact_match"].mean == float(right), question
            total = _total(model, context, answer, end=True)
            assert got["gold_bpb"].mean == pytest.approx(_bpb(total, answer), rel=1e-5)


def _same(a: Mapping[str, Value], b: Mapping[str, Value]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].mean == pytest.approx(b[name].mean, rel=1e-5)


@pytest.mark.parametrize("eval_tokens", [1, 40, 100_000])
def test_batches_do_not_matter(model: LanguageModel, eval_tokens: int) -> None:
    questions = _choices(20)
    want = Scorer(model, questions, None, EVAL_TOKENS).score()
    got = Scorer(model, questions, None, eval_tokens).score()
    _same(got.metrics, want.metrics)
    assert got.tokens == want.tokens
    _same(Scorer(model, questions[::-1], None, eval_tokens).score().metrics, want.metrics)


def test_rows_that_differ_in_the_last_token_run_once(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    plain = LanguageModel.logits_in_pieces

    def spy(
        self: LanguageModel,
        ids: torch.Tensor,
        where: torch.Tensor,
        how: Branching | None,
        size: int,
    ) -> Iterator[torch.Tensor]:
        seen.append(ids.shape[0])
        return plain(self, ids, where, how, size)

    monkeypatch.setattr(LanguageModel, "logits_in_pieces", spy)
    lettered = [Choice(f"l{i}", f"pick {i}?", ("a", "b", "c", "d"), i % 4) for i in range(5)]
    scores = Scorer(model, lettered, None, EVAL_TOKENS).score()
    assert sum(seen) == 5
    assert model.branches
    assert scores.tokens == sum(len(model.encode(q.context + " ")) for q in lettered)
    seen.clear()
    mixed = [Choice("m", "pick?", ("a", "bc", "bd", "b"), 1)]
    tokens = Scorer(model, mixed, None, EVAL_TOKENS).score().tokens
    assert sum(seen) == 1, "' ' and ' b' are one tree"
    assert tokens == len("pick? b")


def test_a_shared_row_scores_short_and_long_continuations(model: LanguageModel) -> None:
    """One row serves two questions whose continuations begin at different places."""
    questions = [Choice("a", "ab", ("cde", "cdf"), 0), Choice("b", "ab cd", ("e", "f"), 1, "")]
    requests = [r for q in questions for r in Scorer(model, [q], None, 99)._requests]
    got, tokens = score_requests(model, requests, 99)
    assert tokens == len("ab cd")
    pairs = [(q.context, q.delimiter + option) for q in questions for option in q.options]
    for one, (context, continuation) in zip(got, pairs, strict=True):
        assert one.total == pytest.approx(_total(model, context, continuation), rel=1e-5)


def test_the_standard_error_is_that_of_the_mean() -> None:
    value = summarise([{"x": v} for v in (0.0, 1.0, 1.0, 0.0, 1.0)])["x"]
    assert value.mean == pytest.approx(0.6)
    assert value.n == 5
    assert value.se == pytest.approx(math.sqrt(0.3 / 5))
    assert math.isnan(summarise([{"x": 1.0}])["x"].se)


def test_an_option_without_tokens_is_refused(model: LanguageModel) -> None:
    empty = Choice("q7", "which?", ("a", ""), 0, delimiter="")
    with pytest.raises(DataError, match="question q7: '' has no tokens"):
        Scorer(model, [empty], None, EVAL_TOKENS)
    with pytest.raises(DataError, match="no questions to score"):
        Scorer(model, [], None, EVAL_TOKENS)
    with pytest.raises(DataError, match="no generation settings"):
        Scorer(model, [Generate("g", "a", "b")], None, EVAL_TOKENS)


def test_a_long_prompt_keeps_its_end(model: LanguageModel) -> None:
    long = Choice("long", "abcdef" * 40, ("ab", "cd"), 0)
    got = Scorer(model, [long], None, EVAL_TOKENS).score()
    rows = model.context  # the last token is predicted, not read
    assert got.tokens <= 2 * rows
    kept = ("abcdef" * 40)[-(model.context + 1 - 3) :]
    wanted = _total(model, kept, " ab")
    assert got.metrics["gold_bpb"].mean == pytest.approx(_bpb(wanted, " ab"), rel=1e-5)


def _grade(text: str, gold: str) -> Mapping[str, float]:
    return {"exact_match": float(text.strip() == gold), "length": float(len(text))}


@pytest.mark.parametrize("stop", [(), ("b",), ("e", "3 "), ("zz",)])
def test_generation_in_batches_is_generation_one_by_one(
    model: LanguageModel, stop: tuple[str, ...]
) -> None:
    rng = random.Random(9)
    contexts = [f"say {_text(rng, 1, 16)}" for _ in range(12)]
    how = Generation(stop, 10, _grade)
    together, used = generate(model, contexts, how, 100_000)
    apart = [generate(model, [c], how, 1)[0][0] for c in contexts]
    assert together == apart
    assert together == [cut(_greedy(model, c, 10), stop) for c in contexts]
    assert used >= sum(len(model.encode(c)) for c in contexts)
    some, _ = generate(model, contexts[:5], how, 40)
    assert some == together[:5]
    golds = [t.strip() or "x" for t in apart]
    golds[::2] = ["something else"] * len(golds[::2])
    questions = [
        Generate(f"g{i}", context, gold, "")
        for i, (context, gold) in enumerate(zip(contexts, golds, strict=True))
    ]
    got = Scorer(model, questions, how, 64).score()
    right = [float(t.strip() == gold) for t, gold in zip(apart, golds, strict=True)]
    assert 0 < sum(right) < 12 or not all(apart)
    assert got.metrics["exact_match"].mean == pytest.approx(sum(right) / 12)
    assert got.metrics["length"].mean == pytest.approx(sum(len(t) for t in apart) / 12)
    assert got.metrics["gold_bpb"].n == 12


def test_generation_from_a_context_that_is_too_long(model: LanguageModel) -> None:
    how = Generation((), 8, _grade)
    long = "abcdef" * 30
    (got,), _ = generate(model, [long], how, 64)
    assert got == _greedy(model, long[-(model.context - 8) :], 8)


@dataclass(frozen=True)
class _Report:
    """Gives back what it was told of one pair."""

    which: int

    def __call__(self, totals: Sequence[float], greedy: Sequence[bool]) -> Mapping[str, float]:
        return {"total": totals[self.which], "greedy": float(greedy[self.which])}


def test_pairs_are_graded_by_their_own_rule(model: LanguageModel) -> None:
    pairs = (("ab?", " cd"), ("abc d?", " e"), ("ab?", _greedy(model, "ab?", 2)))
    for which, (context, continuation) in enumerate(pairs):
        question = Pairs("p", pairs, _Report(which), gold=which)
        got = Scorer(model, [question], None, EVAL_TOKENS).score().metrics
        wanted = _total(model, context, continuation)
        assert got["total"].mean == pytest.approx(wanted, rel=1e-5)
        assert got["greedy"].mean == float(which == 2)
        assert got["gold_bpb"].mean == pytest.approx(_bpb(wanted, continuation), rel=1e-5)


@dataclass(frozen=True)
class _Length:
    add: int

    def __call__(self, answer: str) -> Mapping[str, float]:
        return {"length": len(answer) + self.add}


def test_an_answer_may_have_a_rule_of_its_own(model: LanguageModel) -> None:
    questions = [Generate(f"g{i}", "say a", "b", rule=_Length(i)) for i in range(3)]
    got = Scorer(model, questions, Generation((), 4), EVAL_TOKENS).score().metrics
    assert got["length"].mean == len(_greedy(model, "say a", 4)) + 1
    assert "gold_bpb" in got
    with pytest.raises(DataError, match="g9 has no rule"):
        Scorer(model, [Generate("g9", "a", "b")], Generation((), 4), EVAL_TOKENS)


def _rolled(model: LanguageModel, text: str, width: int) -> float:
    """Return the log-likelihood of `text`, each token predicted in its window alone."""
    tokens = model.encode(text)
    total = 0.0
    for i in range(len(tokens)):
        # the window in which token i is predicted begins `width` before that window's end
        end = min((i // width + 1) * width, len(tokens))
        start = max(end - width, 0)
        before = [model.end_id, *tokens][start : i + 1]
        with torch.no_grad():
            logits = model.hf(input_ids=torch.tensor([before])).logits[0, -1].double()
        total += float(torch.log_softmax(logits, dim=-1)[tokens[i]])
    return total


@pytest.mark.parametrize("width", [64, 10, 1])
def test_a_passage_is_scored_in_windows(
    model: LanguageModel, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(11)
    texts = [_text(rng, low, high) for low, high in ((1, 1), (10, 10), (70, 75), (150, 160))]
    questions = [Passage(f"p{i}", t, i + 1, len(t) + 5) for i, t in enumerate(texts)]
    monkeypatch.setattr(model, "context", width)
    nats = [-_rolled(model, t, width) for t in texts]
    for rows in (likelihood.LOGIT_ROWS, 7):
        monkeypatch.setattr(likelihood, "LOGIT_ROWS", rows)
        got = Scorer(model, questions, None, EVAL_TOKENS).score().metrics
        n_bytes = sum(len(t) + 5 for t in texts)
        per_byte = sum(nats) / n_bytes
        assert got["word_perplexity"].mean == pytest.approx(math.exp(sum(nats) / 10), rel=1e-5)
        assert got["byte_perplexity"].mean == pytest.approx(math.exp(per_byte), rel=1e-5)
        assert got["bits_per_byte"].mean == pytest.approx(per_byte / math.log(2), rel=1e-5)
        assert got["bits_per_byte"].n == 4


def test_a_passage_without_tokens_is_refused(model: LanguageModel) -> None:
    with pytest.raises(DataError, match="p0 has no tokens"):
        Scorer(model, [Passage("p0", "", 1, 1)], None, EVAL_TOKENS)


def test_ratios_are_summed_before_they_are_divided() -> None:
    rng = random.Random(2)
    weights = [rng.randint(50, 500) for _ in range(400)]
    nats = [w * rng.gauss(2.0, 0.3) for w in weights]
    rows = [
        {"ppl": Ratio(x, w, "exp"), "bits": Ratio(x, w, "bits")}
        for x, w in zip(nats, weights, strict=True)
    ]
    got = summarise(rows)
    ratio = sum(nats) / sum(weights)
    assert got["ppl"].mean == pytest.approx(math.exp(ratio))
    assert got["bits"].mean == pytest.approx(ratio / math.log(2))
    # the standard error against a bootstrap of the questions
    draws = []
    for _ in range(2000):
        at = rng.choices(range(400), k=400)
        draws.append(math.exp(sum(nats[i] for i in at) / sum(weights[i] for i in at)))
    mean = sum(draws) / len(draws)
    spread = math.sqrt(sum((d - mean) ** 2 for d in draws) / len(draws))
    assert got["ppl"].se == pytest.approx(spread, rel=0.1)
    assert got["ppl"].se == pytest.approx(got["bits"].se * math.log(2) * got["ppl"].mean)
    assert math.isnan(summarise(rows[:1])["ppl"].se)
    assert rows[0]["bits"].value == pytest.approx(nats[0] / weights[0] / math.log(2))
    assert Ratio(1e6, 1, "exp").value == math.inf


def test_held_out_losses_are_means_over_labelled_tokens(model: LanguageModel) -> None:
    rows = {"one": [Row("ab?", " cd"), Row("e?", " f")], "two": [Row("a?", " b")]}
    losses, tokens = scoring.HeldOut(model, rows, 32, EVAL_TOKENS).losses()
    for name, these in rows.items():
        total = sum(_total(model, r.prompt, r.answer, end=True) for r in these)
        labelled = sum(len(r.answer) + 1 for r in these)
        assert losses[name] == pytest.approx(-total / labelled, rel=1e-5)
    assert tokens == sum(len(r.prompt + r.answer) for these in rows.values() for r in these)


def test_the_adapter_on_the_model_counts(model: LanguageModel) -> None:
    questions = _choices(6)
    scorer = Scorer(model, questions, None, EVAL_TOKENS)
    before = scorer.score()
    head = model.hf.get_output_embeddings().weight
    kept = head.detach().clone()
    with torch.no_grad():
        head.mul_(0.5)
    try:
        changed = scorer.score()
    finally:
        with torch.no_grad():
            head.copy_(kept)
    assert changed.metrics["gold_bpb"].mean != before.metrics["gold_bpb"].mean
    assert dataclasses.asdict(scorer.score()) == dataclasses.asdict(before)
