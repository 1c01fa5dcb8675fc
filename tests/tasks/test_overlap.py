from __future__ import annotations

import math
import random

import pytest

from jobs_bench_tasks._overlap import bleu, rouge


def test_bleu_of_equal_texts_is_full() -> None:
    assert bleu("the cat sat on a mat", "the cat sat on a mat") == pytest.approx(100)


def test_bleu_is_the_geometric_mean_of_four_precisions() -> None:
    # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples, 1 of 3 quadruples; the second "the" counts once
    wanted = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)
    assert bleu("the cat sat on the mat", "the cat sat on a mat") == pytest.approx(wanted)


def test_bleu_smooths_missing_lengths_by_halves() -> None:
    # 4 of 5, 2 of 4, no triple of 3 (1/2 of one), no quadruple of 2 (1/4 of one)
    wanted = 100 * (4 / 5 * 2 / 4 * (1 / 2) / 3 * (1 / 4) / 2) ** (1 / 4)
    assert bleu("a b c d e", "a b x d e") == pytest.approx(wanted)


def test_bleu_takes_brevity_off() -> None:
    assert bleu("a b c d", "a b c d e f") == pytest.approx(100 * math.exp(1 - 6 / 4))
    assert bleu("a b c d e f", "a b c d") < 100


@pytest.mark.parametrize(
    ("answer", "reference"), [("", "a b c d"), ("a b c", "a b c"), ("a b c d", "w x y z")]
)
def test_bleu_of_nothing_in_common_or_too_little_is_zero(answer: str, reference: str) -> None:
    assert bleu(answer, reference) == 0.0


def test_bleu_counts_punctuation_and_case() -> None:
    assert bleu("It is 1,000.5 now.", "It is 1,000.5 now .") == pytest.approx(100)
    assert bleu("It is 1,000.5 now.", "It is 1 , 000.5 now .") < 60
    assert bleu("it cost $5 (or so).", "it cost $ 5 ( or so ) .") == pytest.approx(100)
    assert bleu("THE CAT SAT ON", "the cat sat on") == 0.0


def test_rouge_counts_words_pairs_and_the_longest_common_line() -> None:
    # words: 3 common, of 4 and 5; pairs: "police killed" alone, of 3 and 4; in order: 3
    one, two, longest = rouge("police killed the gunman", "Police killed a masked gunman.")
    assert one == pytest.approx(100 * 2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))
    assert two == pytest.approx(100 * 2 * (1 / 3) * (1 / 4) / (1 / 3 + 1 / 4))
    assert longest == one


def test_rouge_l_minds_the_order_of_words() -> None:
    # the gunman, police / killed: only two in order of four
    one, _, longest = rouge("the gunman killed police", "police killed the gunman")
    assert one == pytest.approx(100)
    assert longest == pytest.approx(50)


def test_rouge_l_takes_sentences_apart() -> None:
    assert rouge("b two . a one .", "a one . b two .")[2] == pytest.approx(100)
    assert rouge("b two a one", "a one b two")[2] == pytest.approx(50)


def test_rouge_of_nothing_is_zero() -> None:
    assert rouge("", "a b") == (0.0, 0.0, 0.0)
    assert rouge("...", "a b") == (0.0, 0.0, 0.0)
    assert rouge("a", "a") == (100.0, 0.0, 100.0)


PIECES = ["the", "The", "cat", "a", "mat", "12", "1,000", "3.5", "$", "€5", "it's", "naïve", "東京"]
MARKS = [" ", " ", " ", " . ", ", ", "\n", "-", ' "', "! ", " (", ") ", "", "½", "…", "\t", ". "]


def _made(generator: random.Random) -> str:
    n = generator.randrange(14)
    return "".join(generator.choice(PIECES) + generator.choice(MARKS) for _ in range(n))


@pytest.mark.filterwarnings("ignore")
def test_bleu_is_that_of_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    generator = random.Random(1)
    for _ in range(1500):
        answer, reference = _made(generator), _made(generator)
        theirs = sacrebleu.corpus_bleu(
            [answer],
            [[reference]],
            smooth_method="exp",
            smooth_value=0.0,
            tokenize="intl",
            use_effective_order=False,
        ).score
        assert bleu(answer, reference) == pytest.approx(theirs, abs=1e-9), (answer, reference)


@pytest.mark.filterwarnings("ignore")
def test_rouge_is_that_of_rouge_score() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(
        ["rouge1", "rouge2", "rougeLsum"]
    )
    generator = random.Random(2)
    for _ in range(1500):
        answer, reference = _made(generator), _made(generator)
        got = scorer.score(reference.replace(" . ", ".\n"), answer.replace(" . ", ".\n"))
        theirs = [100 * got[name].fmeasure for name in ("rouge1", "rouge2", "rougeLsum")]
        assert rouge(answer, reference) == pytest.approx(theirs, abs=1e-9), (answer, reference)
