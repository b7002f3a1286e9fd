import math

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.evaluation.benchmarks.registry import load_benchmark
from music.evaluation.comparison import compare_models
from music.evaluation.scoring import ScoredModel, score_items
from music.reward import RewardModel

AFTER, CHANGE = "overall", "change by the turn"


def row(id_, *labels):
    conversation = Conversation()
    for turn in range(len(labels)):
        conversation = conversation.user(f"{id_}, request {turn}").assistant(f"{id_}, answer {turn}")
    return {"id": id_, "messages": conversation.to_messages(), "labels": list(labels)}


ROWS = [row("a", 1, 0.5, 1), row("b", True, None, False), row("c", 1, 1), row("d", 0.2, 0.4)]
SCORES = {"a": (3.0, 1.0, 2.0), "b": (0.0, 9.0, 2.0), "c": (5.0, 5.0), "d": (1.0, 1.0)}


def test_agreement_of_the_reward_after_each_turn(read, figures):
    found = figures(read("turn_labels", ROWS), SCORES)

    # Spearman: in a (3, 1, 2) with (1, 0.5, 1); in b (0, 2) with (1, 0); in d no two rewards differ.
    a = 1.5 / math.sqrt(2 * 1.5)
    assert found[AFTER, "rank correlation"].estimate.value == pytest.approx((a - 1 + 0) / 3)
    assert "1 conversations whose turns are all worth the same left out" in found[AFTER, "rank correlation"].note
    assert found[AFTER, "worst turn found"].estimate.value == pytest.approx((1 + 0 + 0.5) / 3)
    assert found[AFTER, "worst turn found"].chance == pytest.approx((1 / 3 + 1 / 2 + 1 / 2) / 3)
    # Flawless: 3, 2, 0, 5, 5; flawed: 1, 2, 1, 1.
    area = found[AFTER, "AUC"]
    assert area.estimate.value == pytest.approx((4 + 3.5 + 0 + 4 + 4) / 20)
    assert (area.note, area.chance) == ("5 flawless and 4 flawed turns", 0.5)


def test_agreement_of_the_change_by_each_turn(read, figures):
    found = figures(read("turn_labels", ROWS), SCORES)
    # From the second turn on: a -2, +1; b -7 (the turn before has a reward, though no label); c 0; d 0.
    assert found[CHANGE, "rank correlation"].estimate.value == pytest.approx(1.0)
    assert found[CHANGE, "rank correlation"].num_items == 1
    assert found[CHANGE, "AUC"].estimate.value == pytest.approx((3 + 2.5) / 6)
    assert found[CHANGE, "AUC"].note == "2 flawless and 3 flawed turns"


def test_agreement_by_the_turns_that_follow(read, figures):
    found = figures(read("turn_labels", ROWS), SCORES)
    # One turn follows: c's 5 is flawless, a's 1 and d's 1 are flawed. None follows: a's 2 and c's 5; b's 2 and d's 1.
    assert found["AUC by turns that follow", "1"].estimate.value == 1.0
    assert found["AUC by turns that follow", "0"].estimate.value == pytest.approx((1.5 + 2) / 4)
    assert found["AUC by turns that follow", "2"].estimate is None
    assert found["AUC by turns that follow", "2"].note == "2 flawless and 0 flawed turns"
    table = "worst turn found, by turns that follow"
    assert {name: figure.estimate.value for (t, name), figure in found.items() if t == table} == {"0": 0.0, "1": 0.75}


def test_the_first_figure_is_the_one_that_models_are_compared_by(read):
    benchmark, items = load_benchmark("turn_labels"), read("turn_labels", [row(str(n), 1, 0, 1) for n in range(20)])
    right = score_items(items, ScoredModel(name="right", reward=lambda cs: [-float(c.num_turns == 2) for c in cs]))
    wrong = score_items(items, ScoredModel(name="wrong", reward=lambda cs: [float(c.num_turns == 2) for c in cs]))
    compared = compare_models(benchmark, items.items, right, wrong).differences
    assert (compared[0].name, compared[0].estimate.value) == ("rank correlation", 2.0)
    assert compared[0].verdict == "higher, beyond noise"
    assert [each.verdict for each in compared if each.name == "AUC"] == ["not compared", "not compared"]


def test_labels_that_never_differ_leave_figures_without_a_value(read, figures):
    found = figures(read("turn_labels", [row("a", 1, 1), row("b", 1)]), {"a": (1.0, 2.0), "b": (3.0,)})
    assert {figure.estimate for figure in found.values()} == {None}
    assert found[AFTER, "AUC"].note == "3 flawless and 0 flawed turns"


def test_the_rewards_are_those_of_score_turns(read, reward_checkpoint):
    model = RewardModel.from_pretrained(reward_checkpoint(), device="cpu")
    items = read("turn_labels", ROWS)
    scored = score_items(items, ScoredModel(name="rm", reward=model))
    whole = [Conversation.from_messages(row["messages"]) for row in ROWS]
    for item, rewards in zip(items.items, model.score_turns(whole), strict=True):
        assert scored.rows[item.id].scores == pytest.approx(rewards, abs=1e-5)


def test_conversations_without_labels_are_left_out_and_counted(read):
    items = read("turn_labels", [row("a", None, None), row("b", 1, None)])
    assert [item.id for item in items.items] == ["b"]
    assert [(left.place, left.reason) for left in items.rejected] == [("line 1", "no turn has a label")]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"labels": [1]}, "labels: expected a list of 2 labels, one for each assistant turn, got 1 of them"),
        ({"labels": None}, "labels: expected a list of 2 labels, one for each assistant turn, got None"),
        ({"labels": [1, 1.5]}, r"labels\[1\]: expected a number from 0 to 1, true, false or null, got 1.5"),
        ({"labels": ["good", 1]}, r"labels\[0\]: expected a number from 0 to 1, true, false or null, got 'good'"),
        ({"messages": [{"role": "user", "content": "Hi"}]}, "messages: expected a last message by the assistant"),
    ],
)
def test_a_bad_row_is_named(read, wrong, said):
    with pytest.raises(InvalidInputError, match=f"rows.jsonl, line 1, {said}"):
        read("turn_labels", [row("a", 1, 0) | wrong])
