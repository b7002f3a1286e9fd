import pytest

from music.errors import InvalidInputError


def vote(id_, winner, **extra):
    return {
        "question_id": id_,
        "model_a": "m1",
        "model_b": "m2",
        "winner": winner,
        "prompt": f"Question {id_}?",
        "response_1": "First.",
        "response_2": "Second.",
        **extra,
    }


def rows_of_four(id_, labels, pairs, model="m1"):
    responses = {f"response_{n}": f"Answer {n} to {id_}." for n in range(1, len(labels) + 1)}
    return {
        "question_id": id_,
        "model_name": model,
        "prompt": f"Solve {id_}.",
        "scores": labels,
        "sampled_conflict_pairs": pairs,
        "mean_score": sum(labels) / len(labels),
        **responses,
    }


def test_votes_count_by_accuracy_and_ties_are_left_out(read, figures):
    rows = [
        vote("1", "model_a", hard_prompt=True, longer_won=True),
        vote("2", "model_b", hard_prompt=False, longer_won=False),
        vote("3", "tie"),
        vote("4", "tie (bothbad)"),
        vote("5", "model_b", hard_prompt=True, longer_won=True),
    ]
    items = read("ppe", rows)
    assert items.items[1].completions[0].messages[-1].content == "Second."
    assert [row.reason for row in items.rejected] == ["a tie among humans"] * 2

    found = figures(items, {"1": (1.0, 0.0), "2": (1.0, 0.0), "5": (0.0, 1.0)})

    assert found["overall", "human preference"].estimate.value == pytest.approx(2 / 3)
    assert found["overall", "correctness"].estimate is None
    assert found["kinds of prompts", "hard_prompt"].estimate.value == 0.5
    assert found["length", "humans chose the shorter side"].estimate.value == 1.0
    assert found["length", "humans chose the longer side"].num_items == 2


MATH = [
    rows_of_four("1", [True, False, False, True], [[0, 1], [2, 3]]),
    rows_of_four("2", [False, True, False, False], [[1, 0], [1, 2]]),
]
GPQA = [rows_of_four("1", [True, True, False, False], [[0, 3]])]
SCORES = {
    "MATH/m1/1": (4.0, 3.0, 2.0, 1.0),
    "MATH/m1/2": (1.0, 3.0, 4.0, 2.0),
    "GPQA/m1/1": (4.0, 3.0, 2.0, 1.0),
}


def test_every_metric_of_correctness_by_hand(read, values):
    files = {"PPE__MATH__Best__of__K": MATH, "PPE__GPQA__Best__of__K": GPQA}
    found = values(read("ppe", **files), SCORES)

    # Row 1, right 4 and 1, wrong 3 and 2. Pairs: 4 > 3 right, 1 > 2 wrong. Area: 4 beats both, 1 none: 2/4.
    # Row 2, right 3, wrong 1, 4, 2. Pairs: 3 > 1 right, 3 > 4 wrong. Area: 2/3.
    assert found["correctness", "MATH: accuracy"] == pytest.approx(2 / 4)
    assert found["correctness", "MATH: area under the curve"] == pytest.approx((2 / 4 + 2 / 3) / 2)
    # The highest of k out of 4 has rank 4 with probability k/4, rank 3 with (4-k)k/12, and so on:
    #   k = 1: 1/4 each; k = 2: ranks 2, 3, 4 with 1/6, 2/6, 3/6; k = 3: ranks 3, 4 with 1/4, 3/4; k = 4: rank 4.
    # Row 1, labels by rank 1 0 0 1: 1/2, 1/2, 3/4, 1. Row 2, labels by rank 0 0 1 0: 1/4, 1/3, 1/4, 0.
    curve = [(1 / 2 + 1 / 4) / 2, (1 / 2 + 1 / 3) / 2, (3 / 4 + 1 / 4) / 2, (1 + 0) / 2]
    for k, value in ((1, curve[0]), (2, curve[1]), (4, curve[3])):
        assert found["best of k", f"MATH, k = {k}"] == pytest.approx(value)
    assert found["correctness", "MATH: end"] == pytest.approx(0.5)
    assert found["correctness", "MATH: max"] == pytest.approx(max(curve))
    # An oracle: row 1, 0 0 1 1: 1/2, 5/6, 1, 1; row 2, 0 0 0 1: 1/4, 1/2, 3/4, 1.
    oracle = [(1 / 2 + 1 / 4) / 2, (5 / 6 + 1 / 2) / 2, (1 + 3 / 4) / 2, 1.0]
    loss = sum((a - b) ** 2 for a, b in zip(curve, oracle, strict=True)) / 4
    assert found["correctness", "MATH: loss"] == pytest.approx(loss)
    # GPQA is ordered as an oracle would: accuracy, area, end and max are 1, loss 0; the overall figures are means.
    label = "mean of 2 of 5 sets"
    assert found["overall", f"correctness, {label}"] == pytest.approx((2 / 4 + 1) / 2)
    assert found["correctness", f"{label}: end"] == pytest.approx((0.5 + 1) / 2)
    assert found["correctness", f"{label}: max"] == pytest.approx((max(curve) + 1) / 2)
    assert found["correctness", f"{label}: loss"] == pytest.approx(loss / 2)
    assert found["overall", "human preference"] is None


def test_constant_scores_pick_by_chance(read, figures):
    scores = dict.fromkeys(("MATH/m1/1", "MATH/m1/2"), (1.0,) * 4)
    found = figures(read("ppe", MATH__best=MATH), scores)
    assert found["correctness", "MATH: accuracy"].estimate.value == 0.0
    for metric in ("end", "max"):  # (2 + 1) / 8 of the completions are right
        assert found["correctness", f"MATH: {metric}"].estimate.value == pytest.approx(3 / 8)
        assert found["correctness", f"MATH: {metric}"].chance == pytest.approx(3 / 8)
        assert "the scores of each item are all the same" in found["correctness", f"MATH: {metric}"].note


@pytest.mark.parametrize(
    ("stem", "change", "said"),
    [
        ("train", {}, "scores: expected a file named after its set .*, got 'train.jsonl'"),
        ("math", {"scores": [True, 0.5]}, "scores: expected a list of true and false"),
        ("math", {"response_4": None}, "response_4: expected a value"),
        ("math", {"sampled_conflict_pairs": [[0, 3]]}, "sampled_conflict_pairs: expected a right and a wrong"),
        ("math", {"sampled_conflict_pairs": [[0, 9]]}, "sampled_conflict_pairs: expected pairs of places below 4"),
        ("math", {"sampled_conflict_pairs": None}, "sampled_conflict_pairs: expected a list of pairs"),
        ("votes", {"winner": "me"}, "winner: expected 'model_a', 'model_b' or a tie, got 'me'"),
    ],
)
def test_a_bad_row_is_named(read, stem, change, said):
    with pytest.raises(InvalidInputError, match=f"{stem}.jsonl, line 1, {said}"):
        read("ppe", **{stem: [MATH[0] | change]})


def test_rows_of_different_numbers_of_completions_are_refused(read, values):
    items = read("ppe", math=[MATH[0], rows_of_four("3", [True, False], [[0, 1]])])
    with pytest.raises(InvalidInputError, match="one number of completions, got 2, 4"):
        values(items, {"MATH/m1/1": (1.0, 2.0, 3.0, 4.0), "MATH/m1/3": (1.0, 2.0)})


def test_flags_may_be_text_and_a_missing_one_is_noted(read, figures):
    items = read("ppe", [vote("1", "model_a", longer_won="True", is_code="false"), vote("2", "model_b")])
    found = figures(items, {"1": (1.0, 0.0), "2": (1.0, 0.0)})
    assert found["length", "humans chose the longer side"].num_items == 1
    assert ("kinds of prompts", "is_code") not in found
    found = figures(read("ppe", [vote("1", "model_a")]), {"1": (1.0, 0.0)})
    assert found["length", "longer side"].note == "missing: no vote has `longer_won`"


def test_a_flag_that_is_no_flag_is_named(read):
    with pytest.raises(
        InvalidInputError, match=r"rows.jsonl, line 1, longer_won: expected true, false or null, got 'A'"
    ):
        read("ppe", [vote("1", "model_a", longer_won="A")])
