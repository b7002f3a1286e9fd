"""`music demo --quick` runs the whole method; what it shows is checked for being there, not for who wins."""

import json
import re
import subprocess
import sys

import pytest

from music.preferences import read_preferences
from music.reward import RewardModel
from music_trainers.arms import Measures
from music_trainers.demo import QUICK
from music_trainers.demo.results import CONTROL, best_of_n_rows, defect_gains, describe_results


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    command = [
        sys.executable,
        "-c",
        "from music.cli import main; main()",
        "demo",
        "--quick",
        "--json",
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_every_arm_is_trained_on_as_many_pairs_from_the_same_contexts(demo):
    out, result = demo
    assert [arm["name"] for arm in result["arms"]] == ["last-turn", "music", "mixture"]
    assert {arm["num_pairs"] for arm in result["arms"]} == {QUICK.num_base_pairs + QUICK.num_contrastive_pairs}
    pairs = {
        name: read_preferences(out / "pairs" / f"{name}.parquet").pairs for name in ("last-turn", "music", "mixture")
    }
    assert [p.chosen for p in pairs["last-turn"]] == [p.chosen for p in pairs["music"]]
    for pair in pairs["last-turn"]:
        assert pair.chosen.messages[:-1] == pair.rejected.messages[:-1]
    shared = {tuple(p.chosen.messages[:2]) for p in pairs["music"]}
    assert {tuple(p.chosen.messages[:2]) for p in pairs["mixture"]} == shared


def test_all_measures_are_reported(demo):
    out, result = demo
    models = {"last-turn", "last-turn, prefix mean", "music", "mixture"}
    assert {row["model"] for row in result["defects"]} == models
    assert {row["selector"] for row in result["best_of_n"]} == models | {"random", "longest", "oracle"}
    assert {(row["protocol"], row["num_candidates"]) for row in result["best_of_n"]} == {
        ("greedy", 4),
        ("whole", 4),
        ("whole", 8),
    }
    assert {row["turn"] for row in result["defects"]} == set(range(1, QUICK.num_turns + 1))
    assert (out / "report.html").stat().st_size > 900_000
    assert len(list((out / "report").glob("*.png"))) == 2
    assert json.loads((out / "demo.json").read_text())["findings"] == result["findings"]


def test_the_report_links_to_the_defects_that_each_model_ranks_worst(demo):
    out, _ = demo
    report = (out / "report.html").read_text()
    for number in range(1, 5):
        assert f'<a href="report-worst-{number}.html">The 10 pairs that ' in report
        page = (out / f"report-worst-{number}.html").read_text()
        margins = [float(each) for each in re.findall(r"<span>margin <b>(.*?)</b>", page)]
        assert margins == sorted(margins)
        assert len(margins) == 10
        assert re.search(r"(relevance|count|standing) in turn [1-5]", page)


def test_no_selector_beats_the_oracle(demo):
    for key in {(row["protocol"], row["num_candidates"]) for row in demo[1]["best_of_n"]}:
        rows = {r["selector"]: r for r in demo[1]["best_of_n"] if (r["protocol"], r["num_candidates"]) == key}
        if key[0] == "whole":
            assert rows["oracle"]["score"]["value"] == max(row["score"]["value"] for row in rows.values())


def test_the_trained_models_load(demo):
    out, _ = demo
    conversation = read_preferences(out / "pairs" / "music.parquet").pairs[0].chosen
    assert len(RewardModel.from_pretrained(out / "models" / "mixture").score([conversation])) == 1


def test_the_findings_are_three_sentences_and_claim_no_gain_where_there_is_none():
    margins = {("relevance", t): [1.0, -1.0] * 20 for t in range(3)} | {("count", t): [-1.0] * 40 for t in range(3)}
    margins |= {("standing", t): [1.0 if t == 2 else -1.0] * 40 for t in range(3)}
    measured = Measures(margins, [1.0], {4: [0.5], 8: [0.5]}, [0.5])
    measures = {CONTROL: measured, "music": measured}
    blindness, gains, order = describe_results(measures, best_of_n_rows(measures))
    assert "ranks 0.167 [" in blindness
    assert "below chance, and 0.500 [" in blindness
    assert gains.endswith("less that of last-turn: music +0.000 (n = 240: no interval), no difference.")
    assert order.endswith("last-turn 0.500; music 0.500.")
    assert {(row.group, row.place, row.finding.split(": ")[-1]) for row in defect_gains(measures)} == {
        (group, place, "no difference")
        for group in ("relevance", "count", "standing")
        for place in ("before the last turn", "in the last turn")
    }
