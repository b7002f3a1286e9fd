"""The report on hand-made cells: what stands in the page and in the Markdown file."""

import random

import pytest

from music.report import write_report
from music_trainers.experiment.report import experiment_report, write_markdown

ARMS = {
    "base": {"pairs": {"base": 5}, "description": "base pairs only"},
    "music": {"pairs": {"instruction": 5}, "against": ["base"]},
}
CLAIM = {"arm": "music", "control": "base", "measure": "single turns"}
HYPOTHESES = {
    "H1": {**CLAIM, "statement": "Contrast helps.", "direction": "higher"},
    "H2": {**CLAIM, "statement": "Contrast helps early.", "measure": "relevance, early", "direction": "higher"},
    "H3": {**CLAIM, "statement": "Nothing is lost.", "measure": "Best-of-8", "margin": 0.02},
}
ABLATIONS = {
    "turns": {"of": "music", "axis": "T", "variations": {"2": {"num_turns": 2}, "5": {}}},
    "skill": {"of": "music", "axis": "skill", "variations": {"good": {}, "weak": {"skill": "weak"}}},
}


def values(arm, seed, measure, readout):
    """Contrast is better on single turns and worse before the last turn."""
    right = {"single turns": (0.9, 0.4), "relevance, early": (0.1, 0.7)}.get(measure, (0.5, 0.5))[arm == "base"]
    rng = random.Random(f"{arm}/{seed}/{measure}/{readout}")
    return [float(rng.random() < right + 0.1 * (readout == "turn_mean")) for _ in range(40)]


@pytest.fixture
def result(analysed):
    return analysed(ARMS, values, hypotheses=HYPOTHESES, ablations=ABLATIONS)


@pytest.fixture
def text(result, tmp_path):
    write_markdown(result, tmp_path / "small.md")
    return (tmp_path / "small.md").read_text()


def section(text, title):
    """Return the lines of the tables of one section, without headings."""
    _, _, rest = text.partition(f"\n## {title}\n")
    return [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| ")]


def test_hypotheses_come_first_with_their_verdicts(text):
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "Findings",
        "Hypotheses",
        "Scores",
        "Ablation of music: T",
        "Ablation of music: skill",
        "Best-of-N without a reward model",
        "Readouts: chosen on one half, tested on the other",
        "Exploratory differences",
        "Training of the arms",
        "Test items",
        "By kind",
        "What this rests on",
    ]
    rows = section(text, "Hypotheses")[2:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| H1: Contrast helps.",
        "| H2: Contrast helps early.",
        "| H3: Nothing is lost.",
    ]
    assert rows[0].endswith("| Confirmed: the adjusted p is below 0.025. |")
    assert rows[1].endswith("| Refuted: the interval lies wholly below 0. |")
    assert "| music - base > -0.02 in Best-of-8, read with last |" in rows[2]
    assert rows[2].endswith("| Open: the interval includes -0.02. |")


def test_all_rows_of_a_table_have_its_columns(text):
    for title in (line[3:] for line in text.splitlines() if line.startswith("## ")):
        assert len({line.count(" | ") for line in section(text, title)}) <= 1, title


def test_measures_that_the_readout_does_not_change_are_shown_once(text):
    rows = section(text, "Scores")
    assert sum(row.startswith("| single turns | ") for row in rows) == 1
    assert sum(row.startswith("| relevance, early | ") for row in rows) == 4
    assert "| single turns | 40 | 20 | between 0 and 1, such as hits and misses | no |" in section(text, "Test items")


def test_columns_that_are_empty_for_all_arms_are_left_out(analysed, result, tmp_path):
    arms = {"base": {"pairs": {"base": 5}}, "more": {"pairs": {"base": 9}}}
    write_markdown(analysed(arms, values, seeds=(0,)), tmp_path / "frozen.md")
    assert section((tmp_path / "frozen.md").read_text(), "Training of the arms")[0] == (
        "| arm | pairs | seeds | tokens | loss | seconds |"
    )
    write_markdown(result, tmp_path / "small.md")
    header, _, base, music, *_ = section((tmp_path / "small.md").read_text(), "Training of the arms")
    assert header == ("| arm | what for | pairs | T | contrasted | skill | seeds | steps | tokens | loss | seconds |")
    assert base == "| base | base pairs only | 3 base + 1,200 instruction |  |  |  | 3 | 1 | 9 | 0.500 | 3 |"
    assert "| 5 | all | good |" in music


def test_the_page_shows_every_finding_table_and_plot(result, tmp_path, read_page):
    write_report(experiment_report(result), tmp_path / "small.html")
    text = read_page(tmp_path / "small.html").text
    assert all(finding in text for finding in result.findings)
    pictures = sorted(path.name for path in (tmp_path / "small").glob("*.png"))
    assert pictures == [
        "01-plot-hypotheses.png",
        "02-plot-the-arms.png",
        "03-plot-ablation-of-music-t.png",
        "04-plot-ablation-of-music-skill.png",
        "05-plot-readouts.png",
        "06-plot-exploratory-differences.png",
        "07-plot-by-kind.png",
    ]
    assert all(title in text for title in ("Hypotheses", "Exploratory differences", "What this rests on"))


def test_the_declaration_is_repeated_in_words(analysed, tmp_path):
    measures = {
        "early": {"benchmark": "defects", "files": ["a.jsonl", "b.jsonl"], "where_not": {"after": 0}},
        "all": {"benchmark": "defects", "files": ["a.jsonl"]},
    }
    write_markdown(analysed(ARMS, values, measures=measures), tmp_path / "small.md")
    text = (tmp_path / "small.md").read_text()
    assert "- **Sandbox.** num_turns 2, num_defects 1, " in text
    assert (
        "- **Measures.** early: benchmark defects, files a.jsonl b.jsonl, value order, where_not (after 0); all: "
        in text
    )


def test_a_look_has_no_table_of_hypotheses(analysed, tmp_path):
    looked = analysed(ARMS, values, hypotheses=HYPOTHESES, seeds=(7, 8), is_look=True)
    write_markdown(looked, tmp_path / "small-look.md")
    text = (tmp_path / "small-look.md").read_text()
    assert section(text, "Hypotheses") == []
    assert "This is a look: seeds 7 8" in text
    assert "No hypothesis is tested: all comparisons are exploratory." in text
    assert len(section(text, "Exploratory differences")) > 2
