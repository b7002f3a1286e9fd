import pytest

from music.errors import InvalidInputError
from music.evaluation import evaluate, load_benchmark, load_scored_model, score_items


def talk(texts):
    return [
        message
        for text in texts
        for message in ({"role": "user", "content": "Go on."}, {"role": "assistant", "content": text})
    ]


def pair(id_, bad_round, better_is_a=True, rounds=2, **changes):
    sides = [talk([f"Good {id_}"] * rounds), talk([f"Bad {id_}"] * rounds)]
    good, bad = ("a", "b") if better_is_a else ("b", "a")
    metadata = {"bad_round_index": bad_round, "assistant_behavior_type": "forgets", "context": f"Document {id_}"}
    row = {"id": id_, "domain": "ml", f"convo_{good}": sides[0], f"convo_{bad}": sides[1], "better_is_a": better_is_a}
    return row | {"metadata": metadata | changes}


def answer(id_, model, *flags):
    names = ("correct", "correct_verdict", "correct_bad_round", "correct_behavior_type")
    return {"id": id_, "model": {"name": model}, "judge": dict(zip(names, flags, strict=True)), "better_is_a": True}


def test_verdict_and_turn_are_read_from_rewards_jointly(read, figures):
    items = read("rankjudge", [pair("x", 1), pair("y", 2, better_is_a=False), pair("z", 2)])
    assert [len(item.completions) for item in items.items] == [3, 3, 3]
    assert items.items[1].completions[0].messages[-1].content == "Good y"
    # x: verdict and turn right; y: verdict right, turn 1 is lowest; z: verdict wrong, turn tied.
    found = figures(items, {"x": (5.0, 1.0, 2.0), "y": (5.0, 1.0, 2.0), "z": (1.0, 2.0, 2.0)})
    assert found["overall", "verdict"].estimate.value == pytest.approx(2 / 3)
    assert found["overall", "turn"].estimate.value == pytest.approx((1 + 0 + 0.5) / 3)
    joint = found["overall", "verdict and turn"]
    assert (joint.estimate.value, joint.chance) == (pytest.approx(1 / 3), 0.25)
    assert found["verdict, by turns", "2 turns"].num_items == 3


def test_published_answers_are_not_scored_and_have_all_three(read):
    rows = [pair("x", 1), pair("y", 2), answer("x", "judge A", True, True, True, True)]
    rows += [answer("y", "judge A", False, True, False, True), answer("x", "judge B", None, None, None, None)]
    items = read("rankjudge", rows)
    result = evaluate(load_benchmark("rankjudge"), items, score_items(items, load_scored_model("length")))
    found = {(figure.table, figure.name): figure for figure in result.figures}
    assert (result.num_items, result.exclusions[0].num) == (2, 3)
    shares = {
        what: found[f"published judges: {what}", "judge A"].estimate.value
        for what in ("all three", "verdict", "turn", "kind")
    }
    assert shares == {"all three": 0.5, "verdict": 1.0, "turn": 0.5, "kind": 1.0}
    silent = found["published judges: verdict", "judge B"]
    assert (silent.estimate, silent.note) == (None, "1 without an answer")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (pair("x", 3), "bad_round_index: expected 1 or 2, got 3"),
        (pair("x", 1, better_is_a=None), "better_is_a: expected true or false"),
        (pair("x", 1) | {"metadata": None}, "metadata: expected an object"),
    ],
)
def test_a_bad_row_is_named(read, row, said):
    with pytest.raises(InvalidInputError, match=rf"rows.jsonl, line 1, {said}"):
        read("rankjudge", [row])
