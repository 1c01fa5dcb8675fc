"""The files of a leaderboard: the same bytes, nothing from outside, nothing unescaped."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs_bench.errors import DataError, InputError, OptionError, ScaleError
from jobs_bench.report.bench_folder import read_bench
from jobs_bench.report.collect import collect
from jobs_bench.report.compare import compare
from jobs_bench.report.leaderboard import build, references_folder, standings_of
from jobs_bench.report.leaderboard_text import BEGIN, END, latex, put_between_markers, section
from jobs_bench.report.paper import bibliography, write_paper
from jobs_bench.report.references import freeze, load_references

Frames = tuple[pd.DataFrame, pd.DataFrame]
StudyFrames = Callable[..., Frames]
WriteBench = Callable[..., Path]
METHODS = {"random": 0.30, "bo": 0.60, "independent(bo)": 0.45}
NASTY = "</script><script>alert('x')</script>&_|$\\"
FILES = ("leaderboard.md", "leaderboard.csv", "leaderboard.tex", "leaderboard.html", "studies.csv")


@pytest.fixture
def bench(study_frames: StudyFrames, write_bench: WriteBench, tmp_path: Path) -> Path:
    return write_bench(tmp_path / "bench", *study_frames(METHODS, seeds=3))


class Page(HTMLParser):
    """What is in a page: scripts, tags, ids, and whatever would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.scripts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._in_script = tag == "script"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "srcset", "data", "action") or (tag == "link" and name == "href"):
                self.loaded.append(value or "")
            if tag == "a" and name == "href":
                self.links.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False


def test_the_same_studies_give_the_same_bytes(
    bench: Path, references: Path, tmp_path: Path
) -> None:
    for name in ("a", "b/c"):
        build([bench], tmp_path / name, references=references)
    for name in FILES:
        one = (tmp_path / "a" / name).read_bytes()
        assert one == (tmp_path / "b/c" / name).read_bytes()
        assert str(tmp_path).encode() not in one
        assert len(one) > 500


def test_the_page_needs_no_network_and_links_hold(
    bench: Path, references: Path, tmp_path: Path
) -> None:
    build([bench], tmp_path, references=references)
    text = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.loaded == ["data:,"]
    assert page.handlers == []
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    outside = set(re.findall(r"https?://[^\"'\s<)]+", text))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "default-src 'none'" in text


def test_the_data_of_the_page_are_the_studies(
    bench: Path, references: Path, tmp_path: Path
) -> None:
    built = build([bench], tmp_path, references=references)
    page = Page((tmp_path / "leaderboard.html").read_text(encoding="utf-8"))
    data = json.loads(next(s for s in page.scripts if s.startswith("{")))
    assert len(data["studies"]) == built.boards[0].n_runs == 45
    assert data["tasks"] == list(built.boards[0].references)
    assert data["commands"] == ["jobs-bench bench --suite test"]
    for study in data["studies"]:
        assert 1 < len(study["trace"]) <= 32
        assert [d for d, _ in study["mixture"]] == ["web", "books"]


def test_names_are_never_read_as_markup(
    study_frames: StudyFrames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    studies, trace = study_frames(METHODS, seeds=2)
    mine = studies.label == "bo"
    studies.loc[mine, ["label", "strategy", "reason"]] = NASTY
    studies.loc[mine & (studies.seed == 1), "status"] = "crashed"
    studies.loc[mine, "recommended"] = json.dumps({"mixture": {NASTY: 1.0}, NASTY: NASTY})
    bench = write_bench(tmp_path / "bench", studies, trace, suite=NASTY, command=NASTY)
    build([bench], tmp_path, references=references)
    page = Page((tmp_path / "leaderboard.html").read_text(encoding="utf-8"))
    assert page.tags.count("script") == 2
    assert "alert" not in "".join(s for s in page.scripts if not s.startswith("{"))
    markdown = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "<script>" not in re.sub(r"(`+).*?\1", "", markdown)
    assert "&lt;script&gt;" not in (tmp_path / "leaderboard.csv").read_text(encoding="utf-8")
    tex = (tmp_path / "leaderboard.tex").read_text(encoding="utf-8")
    assert latex(NASTY) in tex
    assert NASTY not in tex


def test_latex_escapes_every_special_character() -> None:
    assert latex("a_b & 5 % of $x^2 ~ #1 {\\}") == (
        r"a\_b \& 5 \% of \$x\textasciicircum{}2 \textasciitilde{} \#1 \{\textbackslash{}\}"
    )


def test_the_csv_holds_every_digit(bench: Path, references: Path, tmp_path: Path) -> None:
    built = build([bench], tmp_path, references=references)
    text = (tmp_path / "leaderboard.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    for row, standing in zip(rows, built.boards[0].standings, strict=True):
        assert row["method"] == standing.method
        assert float(row["score"]) == standing.score.value
        assert float(row["score_low"]) == standing.score.low
        assert int(row["studies"]) == len(standing.runs)
    studies = (tmp_path / "studies.csv").read_text(encoding="utf-8")
    found = pd.read_csv(io.StringIO(studies))
    assert len(found) == 45
    means = found.groupby(["method", "task"]).score.mean()
    for standing in built.boards[0].standings:
        for task, mean in standing.per_task.items():
            assert means[standing.method, task] == pytest.approx(mean, rel=1e-12)


def test_a_readme_gets_its_section_and_keeps_the_rest(
    bench: Path, references: Path, tmp_path: Path
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Top\n\n{BEGIN}\nold\n{END}\n\nrest\n", encoding="utf-8")
    for _ in range(2):  # again: nothing grows
        put_between_markers(readme, section(*standings_of([bench], references)))
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"# Top\n\n{BEGIN}\n\n**test at 25x.**")
    assert text.endswith(f"{END}\n\nrest\n")
    assert "old" not in text
    assert text.count("| `bo` |") == 1
    readme.write_text("# Top\n", encoding="utf-8")
    with pytest.raises(OptionError, match="wanted these two lines"):
        put_between_markers(readme, "new")
    assert readme.read_text(encoding="utf-8") == "# Top\n"


def test_left_out_studies_are_in_every_form(
    study_frames: StudyFrames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    studies, trace = study_frames(METHODS, seeds=3)
    studies.loc[studies.seed == 2, ["status", "reason"]] = ["failed", "out of luck"]
    build([write_bench(tmp_path / "b", studies, trace)], tmp_path, references=references)
    for name in ("leaderboard.md", "leaderboard.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "15 more studies count nowhere" in text
        assert "10 of 15" in text
        assert "failed: out of luck" in text
    table = pd.read_csv(tmp_path / "leaderboard.csv")
    assert table.left_out.tolist() == [5, 5, 5]
    assert pd.read_csv(tmp_path / "studies.csv").left_out_because.notna().sum() == 15


def test_nothing_to_rank_is_said_not_hidden(bench: Path, tmp_path: Path) -> None:
    built = build([bench], tmp_path / "out", references=tmp_path / "none")
    assert built.boards == ()
    assert "No study can be ranked: 45 studies were found" in built.message
    text = (tmp_path / "out" / "leaderboard.html").read_text(encoding="utf-8")
    assert "no frozen reference for pocket_a" in text


def test_one_method_on_one_task_with_one_seed(
    study_frames: StudyFrames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    frames = study_frames({"bo": 0.5}, tasks=["pocket_a"], seeds=1)
    built = build([write_bench(tmp_path / "b", *frames)], tmp_path, references=references)
    (row,) = built.boards[0].standings
    assert row.rank is None
    assert np.isnan(row.score.low)
    assert built.boards[0].significance.statement == "Too few, not tested: 1 method."


# live studies


def test_live_studies_are_ranked_with_benches(
    make_study: Callable[..., object], tmp_path: Path
) -> None:
    root = tmp_path / "runs"
    for strategy, gain in (("random", 0.0), ("bo", 0.2)):
        for seed in range(3):
            score = 0.4 + gain + 0.01 * seed
            make_study(
                root / strategy / str(seed), strategy=strategy, seed=seed,
                oracle=(score, score + 0.02), scores=(0.3, score, 0.2),
            )  # fmt: skip
    make_study(root / "half", strategy="bo", seed=9, until="searching")
    make_study(root / "tokens", strategy="bo", seed=8, budget="1e6tok")
    freeze(collect([root]), root / "references", noise_floor={"toy": 0.001})
    boards, excluded = standings_of([root], None)
    assert sorted(e.study for e in excluded) == ["half", "tokens"]
    assert "its search is not over" in excluded[0].reason
    rows = {s.method: s for s in boards[0].standings}
    assert rows["random"].score.value == pytest.approx(0, abs=1e-9)  # the median of three
    run = rows["bo"].runs[1]
    assert run.oracle == pytest.approx(0.62)
    assert run.cost == pytest.approx((2.7, 0.3, 0.0))
    assert run.believed[0] == pytest.approx(0.61)
    # the second of three trials was recommended from 2x on; before that nothing was judged
    assert run.trace.spent.tolist() == pytest.approx([0, 1, 2, 3])
    assert np.isnan(run.trace.score[:2]).all()
    assert run.trace.score[2:].tolist() == pytest.approx([0.62, 0.62])
    assert rows["bo"].area is None
    steps, found = boards[0].rungs["toy"]
    assert steps == (10, 40, 100)
    assert found.spearman[0, 2] == pytest.approx(1)
    assert "--strategy bo" in rows["bo"].commands[0]


# references


def test_references_are_frozen_once(bench: Path, tmp_path: Path) -> None:
    folder = tmp_path / "references"
    files = freeze(collect([bench]), folder)
    before = {p: p.read_bytes() for p in files}
    assert [p.name for p in files] == [f"pocket_{c}.yaml" for c in "abcde"]
    with pytest.raises(ScaleError, match="frozen \\(--renew writes a new version"):
        freeze(collect([bench]), folder)
    assert {p: p.read_bytes() for p in files} == before
    freeze(collect([bench]), folder, renew=True, best_known={"pocket_a": 0.9})
    found = load_references(folder)
    assert {f.version for f in found.values()} == {2}
    assert found["pocket_a"].best_known == 0.9
    assert found["pocket_a"].source["best_known"] == "given"


def test_a_bench_may_say_what_is_best_known(
    study_frames: StudyFrames, write_bench: WriteBench, tmp_path: Path
) -> None:
    said = {"pocket_a": {"best_known": 0.95, "noise_floor": 0.02}}
    frames = study_frames({"random": 0.3}, tasks=["pocket_a"], seeds=3)
    root = write_bench(tmp_path, *frames, references=said)
    freeze(collect([root]), root / "references")
    (file,) = load_references(root / "references").values()
    assert (file.best_known, file.noise_floor) == (0.95, 0.02)
    assert file.random_median == {25.0: float(frames[0].oracle.median())}


def test_too_little_to_freeze(
    study_frames: StudyFrames, write_bench: WriteBench, tmp_path: Path
) -> None:
    runs = collect([write_bench(tmp_path, *study_frames({"random": 0.3}, seeds=2))])
    with pytest.raises(OptionError, match="got 2 studies of 'random' with 25x; wanted at least 3"):
        freeze(runs, tmp_path / "references")
    with pytest.raises(OptionError, match=r"no study of 'sobol'.*there are: random"):
        freeze(runs, tmp_path / "references", baseline="sobol")
    assert not (tmp_path / "references").exists()


@pytest.mark.parametrize(
    "text", ["", "schema: 9", "[1]", "schema: 1\ntask: a", "{", "schema: 1\ntask: a\nsignature: b\n"
             "version: 1\nrandom_median: {25: 0.9}\nbest_known: 0.5\nnoise_floor: 0\n"],
)  # fmt: skip
def test_damaged_references_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "toy.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ScaleError, match=r"toy\.yaml|a: got"):
        load_references(tmp_path)


def test_references_are_found_above(tmp_path: Path) -> None:
    (tmp_path / "references").mkdir()
    inner = tmp_path / "bench" / "test"
    inner.mkdir(parents=True)
    assert references_folder(inner) == tmp_path.resolve() / "references"
    (inner / "references").mkdir()
    assert references_folder(inner) == inner.resolve() / "references"


# damaged benches


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [("bench.yaml", "{", "cannot be read"), ("bench.yaml", "7", "got a int"),
     ("studies.parquet", "PAR1", "cannot be read"), ("trace.parquet", None, "missing")],
)  # fmt: skip
def test_a_damaged_bench_is_left_out_by_name(
    bench: Path, study_frames: StudyFrames, write_bench: WriteBench, name: str, text: str | None,
    words: str,
) -> None:  # fmt: skip
    if text is None:
        (bench / name).unlink()
    else:
        (bench / name).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_bench(bench)
    write_bench(bench.parent / "whole", *study_frames({"bo": 0.5}, seeds=1))
    runs = collect([bench.parent])
    assert [(e.study, words in e.reason) for e in runs.excluded] == [("bench", True)]
    assert len(runs.runs) == 5


def test_columns_that_are_missing_are_named(
    bench: Path, study_frames: StudyFrames, write_bench: WriteBench
) -> None:
    studies, trace = study_frames(METHODS, seeds=1)
    write_bench(bench, studies.drop(columns=["oracle", "seed"]), trace.drop(columns="score"))
    with pytest.raises(DataError, match="lacks the columns seed, oracle, score"):
        read_bench(bench)


def test_columns_that_may_be_missing(
    bench: Path, study_frames: StudyFrames, write_bench: WriteBench, references: Path
) -> None:
    studies, trace = study_frames(METHODS, seeds=1)
    needed = ["study_id", "task", "task_signature", "strategy", "seed", "budget", "status"]
    write_bench(bench, studies[[*needed, "oracle"]], trace[["study_id", "spent", "score"]])
    built = build([bench], bench / "out", references=references)
    assert built.excluded == ()
    assert built.boards[0].standings[0].method == "bo"


def test_no_study_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no study at or below"):
        collect([tmp_path])
    with pytest.raises(InputError, match="no such folder"):
        collect([tmp_path / "gone"])


# compare and paper


def test_compare_pairs_by_task_and_seed(
    study_frames: StudyFrames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    studies, trace = study_frames(METHODS, seeds=6)
    gone = (studies.label == "bo") & (studies.task == "pocket_b") & (studies.seed == 0)
    root = write_bench(tmp_path, studies[~gone], trace)
    boards, excluded = standings_of([root], references)
    (found,) = compare(boards, excluded, "bo", "random")
    assert (found.overall.pairs, found.unpaired) == (29, 1)
    assert found.per_task["pocket_b"].pairs == 5
    wide = studies[~gone].pivot(index=["task", "seed"], columns="label", values="oracle").dropna()
    spans = {
        t: f.best_known - f.random_median[25.0] for t, f in load_references(references).items()
    }
    gaps = 100 * (wide.bo - wide.random) / wide.index.get_level_values("task").map(spans)
    want = gaps.groupby("task").mean().mean()
    assert found.overall.difference.value == pytest.approx(want)
    assert found.overall.verdict == "A is better"
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["overall"]["pairs"] == 29
    assert any("bo is better" in line for line in found.lines())
    with pytest.raises(InputError, match="no method in these studies named 'randm'; did you mean"):
        compare(boards, excluded, "bo", "randm")
    with pytest.raises(OptionError, match="got 'bo' twice"):
        compare(boards, excluded, "bo", "bo")


def test_the_paper_kit_is_the_same_twice_and_cites(
    study_frames: StudyFrames, write_bench: WriteBench, references: Path, tmp_path: Path
) -> None:
    frames = study_frames(METHODS, tasks=["pocket_a"], seeds=3)
    boards, excluded = standings_of([write_bench(tmp_path / "bench", *frames)], references)
    sources = {"bo": ["Ament et al. 2023"], "independent(bo)": ["Chen 2026, arXiv 2602.08351"]}
    one = write_paper(boards, excluded, tmp_path / "a", sources)
    other = write_paper(boards, excluded, tmp_path / "b", sources)
    assert [p.name for p in one] == [p.name for p in other]
    for a, b in zip(one, other, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.name
    names = {p.name for p in one}
    kinds = ("scores", "traces", "profiles", "ranks", "interaction", "costs", "mixtures-1")
    assert {f"{n}.{k}" for n in kinds for k in ("pdf", "svg")} <= names
    pdf = (tmp_path / "a" / "traces.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf
    tex = (tmp_path / "a" / "methods.tex").read_text(encoding="utf-8")
    assert r"\texttt{bo} \citep{ament2023}" in tex
    assert "25 full-run equivalents" in tex
    assert "jobs-bench 0.1.0" in tex
    bib = (tmp_path / "a" / "references.bib").read_text(encoding="utf-8")
    assert "@misc{chen2026,\n" in bib
    assert "eprint = {2602.08351}" in bib
    cited = set(re.findall(r"citep\{([^}]*)\}", tex))
    assert {k for c in cited for k in c.split(", ")} <= set(re.findall(r"@misc\{(\w+)", bib))


def test_two_papers_of_one_name_and_year_are_two_entries() -> None:
    text = bibliography({"a": ["Li 2018, JMLR"], "b": ["Li 2018, ICLR"], "c": ["Li 2018, ICLR"]})
    assert re.findall(r"@misc\{(li\w+)", text) == ["li2018", "li2018b"]
