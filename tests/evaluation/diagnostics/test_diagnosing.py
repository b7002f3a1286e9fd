import dataclasses
import json
import math

import pytest

from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import Item, RejectedItem
from music.evaluation.diagnostics import Diagnosis, diagnose
from music.evaluation.diagnostics.scored_pairs import ScoredPairs
from music.evaluation.scoring import UnscoredError
from music.pairs import PreferencePair
from music.reward import UnscorableError

TABLES = {"overall", "length", "continuity", "turns", "history", "calibration", "distribution"}


@pytest.fixture
def pairs(make_pair):
    items = [make_pair(n, [f"Question {n}?"], "A good answer.", "Bad.") for n in range(12)]
    return items + [make_pair(f"m{n}", [f"I am {n}.", "Hello!", "Who?"], f"{n}.", "Dunno, sorry.") for n in range(8)]


def length(conversation):
    return float(len(conversation.messages[-1].content))


def shortness(conversation):
    return -length(conversation)


def test_a_whole_diagnosis(pairs, probe_and_score):
    probed, scores = probe_and_score(pairs, length=length, shortness=shortness)
    train = [PreferencePair(id="t", chosen=pairs[0].completions[0], rejected=pairs[0].completions[1])]
    found = diagnose(probed, scores, train=train, files=["pairs.parquet"])
    assert [model.model for model in found.models] == ["length", "shortness"]
    assert {figure.table for figure in found.models[0].figures} == {*TABLES, "training set"}
    assert found.models[0].figures[0].estimate.value == pytest.approx(12 / 20)
    assert found.models[1].figures[0].estimate.value == pytest.approx(8 / 20)
    assert {curve.table for curve in found.models[0].curves} == {"length", "continuity", "turns", "calibration"}
    assert found.leakage is not None
    assert found.leakage.num_same_pair == 1
    assert found.disagreement is not None
    assert found.disagreement.comparisons[0].estimate.value == pytest.approx(4 / 20)
    assert (found.pair_set.num_pairs, found.pair_set.num_multi_turn) == (20, 8)
    assert "none corrected for their number" in found.models[0].note


def test_it_is_saved_and_read_again_infinities_included(pairs, probe_and_score):
    probed, scores = probe_and_score(pairs, length=length, again=length)
    found = diagnose(probed, scores)
    text = found.model_dump_json()
    assert found.disagreement is not None
    assert found.disagreement.comparisons[0].minimum_detectable == math.inf  # equal models say nothing of the spread
    assert json.loads(text)["disagreement"]["comparisons"][0]["minimum_detectable"] == "Infinity"
    assert Diagnosis.model_validate_json(text).model_dump_json() == text


def test_pairs_are_looked_at_without_a_model(pairs, probe_and_score):
    probed, _ = probe_and_score(pairs)
    left_out = RejectedItem("pairs.jsonl", "line 3", "wrong_type", "chosen")
    found = diagnose(dataclasses.replace(probed, items=dataclasses.replace(probed.items, rejected=(left_out,))), [])
    assert (found.models, found.disagreement, found.leakage) == ((), None, None)
    assert found.pair_set.num_pairs == 20
    assert [(each.stage, each.num) for each in found.exclusions] == [("reading", 1)]


def refuses(*texts):
    def reward(conversation):
        if len(conversation.messages) > 2 and any(text in conversation.messages[0].content for text in texts):
            raise UnscorableError("too long")
        return length(conversation)

    return reward


def test_what_has_no_score_is_an_error_or_is_counted(pairs, probe_and_score):
    with pytest.raises(UnscoredError, match="m3"):
        probe_and_score(pairs, model=refuses("I am 3."))


def test_pairs_and_probes_without_a_score_are_counted_apart(pairs, probe_and_score):
    probed, (scores,) = probe_and_score(pairs, model=length)
    (swapped,) = [item.id for item in probed.scored.items if item.id.startswith("m5 (history of")]
    rows = dict(scores.rows)
    for id in ("m3", swapped):
        rows[id] = rows[id].model_copy(update={"scores": (None, None), "problem": "over_long"})
    broken = dataclasses.replace(scores, rows=rows)
    with pytest.raises(UnscoredError, match="over_long 2"):
        diagnose(probed, [broken])
    model = diagnose(probed, [broken], strict=False).models[0]
    assert model.num_pairs == 19
    assert [(each.stage, each.num, each.example) for each in model.exclusions] == [
        ("scoring", 1, "m3"),
        ("probing", 1, swapped),
    ]
    history = {figure.name: figure.num_items for figure in model.figures if figure.table == "history"}
    assert history["as it is"] == 6


def test_models_are_compared_on_what_all_have_scored(pairs, probe_and_score):
    probed, (first, second) = probe_and_score(pairs, first=length, second=shortness)
    rows = dict(first.rows) | {"0": first.rows["0"].model_copy(update={"scores": (None, 1.0), "problem": "refused"})}
    found = diagnose(probed, [dataclasses.replace(first, rows=rows), second], strict=False)
    assert found.disagreement is not None
    assert found.disagreement.num_pairs == 19


def test_scores_that_are_all_the_same_are_refused(pairs, probe_and_score):
    probed, scores = probe_and_score(pairs, constant=lambda _: 0.5)
    with pytest.raises(InvalidInputError, match="constant: expected scores that differ"):
        diagnose(probed, scores)


def test_two_models_of_one_name_are_refused(pairs, probe_and_score):
    probed, scores = probe_and_score(pairs, length=length)
    with pytest.raises(InvalidInputError, match="got 'length' twice"):
        diagnose(probed, [*scores, *scores])


def test_items_that_are_no_pairs_are_refused(talk):
    three = tuple(talk("Q", text) for text in ("a", "b", "c"))
    item = Item(id="x", subset="a", completions=three, labels=(1.0, 0.0, 0.0), prompt_id="x")
    with pytest.raises(InvalidInputError, match="item 'x': expected a pair, the chosen side first, got 3"):
        ScoredPairs([item], {"x": [1.0, 2.0, 3.0]})
    wrong_way = dataclasses.replace(item, completions=three[:2], labels=(0.0, 1.0))
    with pytest.raises(InvalidInputError, match=r"labelled \[0.0, 1.0\]"):
        ScoredPairs([wrong_way], {"x": [1.0, 2.0]})
