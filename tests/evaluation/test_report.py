import pytest

from music.conversation import Conversation
from music.evaluation.benchmarks.pairs import Preferences, pair_item
from music.evaluation.benchmarks.types import ItemSet
from music.evaluation.diagnostics import Diagnosis, diagnose, probe_pairs
from music.evaluation.diagnostics.report import diagnosis_report
from music.evaluation.report import evaluation_report
from music.evaluation.result import Exclusion, evaluate
from music.evaluation.scoring import ScoredModel, score_items
from music.report import Plot, write_report


def parts_of(report):
    plots = {part.title: part for part in report.parts if isinstance(part, Plot)}
    tables = {part.title: part for part in report.parts if not isinstance(part, Plot)}
    return plots, tables


@pytest.fixture
def compared(make_pairs, score_right):
    items = make_pairs(40)
    model, baseline = score_right(items, range(36)), score_right(items, range(10), "other")
    return evaluate(Preferences(), items, model, baseline=baseline)


def test_an_evaluation_shows_every_figure_and_difference(compared, tmp_path, read_page):
    write_report(evaluation_report(compared), tmp_path / "report.html")
    text = read_page(tmp_path / "report.html").text
    assert {figure.name for figure in compared.figures if figure.name not in text} == set()
    assert "0.900 [" in text
    assert "+0.650 [" in text
    assert "higher, beyond noise" in text
    assert "40 items, 80 completions" in text
    assert compared.comparison.note in text


def test_the_baseline_is_drawn_beside_the_model(compared, drawn):
    plots, _ = parts_of(evaluation_report(compared))
    rows = [row for row in drawn(plots["Plot: figures"]) if row["place"] == "overall"]
    assert [(row["series"], row["value"], row["low"] is None) for row in rows] == [
        ("model", 0.9, False),
        ("other (baseline)", 0.25, True),
    ]


def test_within_noise_is_hollow_and_said(make_pairs, score_right, drawn):
    items = make_pairs(40)
    model, baseline = score_right(items, range(20)), score_right(items, range(1, 21), "other")
    report = evaluation_report(evaluate(Preferences(), items, model, baseline=baseline))
    plots, _ = parts_of(report)
    assert not any(row["is_clear"] for row in drawn(plots["Plot: model less other"]))
    assert f"0 of {len(drawn(plots['Plot: model less other']))} differences are beyond noise." in report.findings


def test_exclusions_are_told_with_their_counts(compared):
    left_out = Exclusion(stage="scoring", reason="over_long", num=7, example="pairs-3")
    report = evaluation_report(compared.model_copy(update={"exclusions": (left_out,), "num_truncated": 3}))
    assert "left out in scoring: 7 for over_long (first: pairs-3)" in report.notes["Account"]
    assert "3 completions were scored without their oldest exchanges" in report.notes["Account"]


def test_a_figure_without_a_value_is_a_dash_with_its_reason(compared):
    figure = compared.figures[0].model_copy(update={"estimate": None, "note": "no rows of math"})
    _, tables = parts_of(evaluation_report(compared.model_copy(update={"figures": (figure,), "comparison": None})))
    ((row,),) = tables["Figures"].groups.values()
    assert (row[1], row[4]) == (None, "no rows of math")


def pair(number):
    start = Conversation().user(f"Question {number}?").assistant("An answer.").user("And?")
    sides = (start.assistant("right " * (1 + number % 5)), start.assistant("wrong " * (1 + number % 3)))
    return pair_item(str(number), "a", *sides, prompt_id=str(number))


def length(conversations):
    return [float(len(c.messages[-1].content)) for c in conversations]


def knows(conversations):
    return [("right" in c.messages[-1].content) + len(c.messages[-1].content) / 50 for c in conversations]


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    probed = probe_pairs(ItemSet("preferences", tuple(map(pair, range(60)))))
    models = [ScoredModel(name="length", reward=length), ScoredModel(name="runs/knows", reward=knows)]
    return diagnose(
        probed, [score_items(probed.scored, scored_model) for scored_model in models], files=["pairs.parquet"]
    )


def test_a_diagnosis_shows_every_figure_curve_and_histogram(diagnosis, tmp_path, read_page):
    report = diagnosis_report(diagnosis)
    write_report(report, tmp_path / "report.html")
    text = read_page(tmp_path / "report.html").text
    figures = [figure.name for model in diagnosis.models for figure in model.figures]
    figures += [figure.name for figure in (*diagnosis.pair_set.figures, *diagnosis.disagreement.figures)]
    assert {name for name in figures if name not in text} == set()
    plots, _ = parts_of(report)
    titles = " ".join(plots)
    assert {curve.name for model in diagnosis.models for curve in model.curves if curve.name not in titles} == set()
    assert {row["panel"] for row in plots["Plot: rewards"].rows} == {"length", "runs/knows"}
    assert {f"Plot: pairs by {each.name}" for each in diagnosis.pair_set.histograms} <= set(plots)
    assert "60 pairs of 60 seeds" in text
    assert "length less runs/knows" in text


def test_only_what_is_one_half_by_chance_stands_among_the_shares(diagnosis, drawn):
    plots, _ = parts_of(diagnosis_report(diagnosis))
    shares = {row["place"] for row in drawn(plots["Plot: shares"])}
    assert "accuracy" in shares
    assert "temperature" not in shares


def test_pairs_alone_make_a_report(diagnosis, tmp_path):
    alone = diagnosis.model_copy(update={"models": (), "disagreement": None})
    plots, tables = parts_of(diagnosis_report(alone))
    assert set(tables) == {"Pairs"}
    assert all(title.startswith("Plot: pairs by") for title in plots)
