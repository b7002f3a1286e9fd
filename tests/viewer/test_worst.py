"""The page of the worst-ranked pairs beside a report."""

import re
from dataclasses import replace

import pytest

from music.conversation import Conversation
from music.evaluation import DiagnosisConfig, EvaluationConfig, run_diagnosis, run_evaluation
from music.evaluation.benchmarks.types import Item, ItemSet
from music.evaluation.run import ranked_pairs
from music.evaluation.scoring.records import ItemScores, ScoreSet, ScoresHeader
from music.preferences import write_preferences
from music.sandbox import seed_pairs
from music.viewer import static_page
from music.viewer.worst import RankedPair, write_worst
from tests.viewer.conftest import opened, said


def conversation(*texts):
    return Conversation.model_validate({"messages": said(*texts)})


def pair(number, margin):
    return RankedPair(
        id=f"p{number}", chosen=conversation("Hi", "Yes."), rejected=conversation("Hi", "No."), margin=margin
    )


def ids(path):
    return re.findall(r'<bdi class="id">(.*?)</bdi>', path.read_text())


def test_the_ten_lowest_margins_come_in_order(tmp_path):
    report = tmp_path / "report.html"
    links = write_worst(report, {"rm": (pair(number, (number * 7) % 23 - 11) for number in range(23))})
    assert links == {"The 10 pairs that rm ranks worst, side by side": "report-worst.html"}
    expected = sorted(range(23), key=lambda number: (number * 7) % 23)[:10]
    assert ids(tmp_path / "report-worst.html") == [f"p{number}" for number in expected]


def test_each_of_several_models_has_a_page(tmp_path):
    links = write_worst(tmp_path / "a.html", {"one": [pair(1, -1)], "none": [], "two": [pair(2, 3)]})
    assert list(links.values()) == ["a-worst-1.html", "a-worst-3.html"]
    assert write_worst(tmp_path / "a.html", {}) == {}
    assert list(tmp_path.iterdir()) == []  # nothing of the earlier report is left


def test_pairs_that_do_not_fit_are_left_out(tmp_path, monkeypatch):
    long = replace(pair(2, 0), chosen=conversation("Hi", "word " * 40_000))
    monkeypatch.setattr(static_page, "MAX_BYTES", 200_000)
    assert list(write_worst(tmp_path / "r.html", {"rm": [pair(1, -1), long]})) == [
        "The pair that rm ranks worst, side by side"
    ]
    assert ids(tmp_path / "r-worst.html") == ["p1"]
    assert write_worst(tmp_path / "r.html", {"rm": [long]}) == {}


def test_items_of_many_completions_give_their_worst_pair():
    sides = tuple(conversation("Hi", text) for text in "abcd")
    item = Item(id="i", subset="s", completions=sides, labels=(1, 0, 1, 0), prompt_id="p")
    alike = replace(item, id="alike", labels=(1, 1, 1, 1))
    unlabelled = replace(item, id="nan", labels=(float("nan"),) * 4)
    unscored = replace(item, id="unscored")
    items = ItemSet("b", (item, alike, unlabelled, unscored))
    rows = {each.id: ItemScores(id=each.id, scores=(0.5, 2.0, 0.25, -1.0)) for each in items.items[:3]}
    rows["unscored"] = ItemScores(id="unscored", scores=(None,) * 4, problem="too_long")
    header = ScoresHeader(
        benchmark="b", items="", num_items=4, model="m", description="", fingerprint=None, versions={}
    )
    (found,) = ranked_pairs(items, ScoreSet(header=header, rows=rows))
    assert (found.chosen, found.rejected, found.margin, found.source) == (sides[2], sides[1], -1.75, "s")


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    write_preferences(seed_pairs(30, 0), str(path))
    return (str(path),)


def test_the_report_of_an_evaluation_links_to_them(tmp_path, pairs, browser):
    run_evaluation(EvaluationConfig(benchmark="preferences", files=pairs, model="length", out=tmp_path / "out"))
    with opened(browser, offline=True) as page:
        page.goto((tmp_path / "out" / "report.html").as_uri())
        page.click("text=The 10 pairs that length ranks worst")
        page.wait_for_selector(".record")
        margins = [float(each) for each in page.locator(".where b").all_inner_texts() if each[0] in "+-"]
        assert margins == sorted(margins)
        assert len(margins) == 10
        assert margins[0] < 0


def test_the_report_of_a_diagnosis_links_to_them(tmp_path, pairs):
    run_diagnosis(DiagnosisConfig(pairs=pairs, models=("length", "oracle"), out=tmp_path / "out"))
    report = (tmp_path / "out" / "report.html").read_text()
    for number in (1, 2):
        assert f'href="report-worst-{number}.html"' in report
        assert len(ids(tmp_path / "out" / f"report-worst-{number}.html")) == 10
    run_diagnosis(DiagnosisConfig(pairs=pairs, models=(), out=tmp_path / "out"))
    assert "worst" not in (tmp_path / "out" / "report.html").read_text()
    assert not list((tmp_path / "out").glob("*worst*"))
