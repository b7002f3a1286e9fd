import pytest

from music.errors import InvalidInputError
from music.evaluation import evaluate, load_benchmark, load_scored_model, score_items


def conversation(model):
    texts = ["Question 1?", f"{model} on 1.", "Question 2?", f"{model} on 2."]
    return [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(texts)]


def vote(question, winner, *, turn=1, judge="expert_1", models=("m1", "m2")):
    return {
        "question_id": question,
        "model_a": models[0],
        "model_b": models[1],
        "winner": winner,
        "judge": judge,
        "conversation_a": conversation(models[0]),
        "conversation_b": conversation(models[1]),
        "turn": turn,
    }


VOTES = [
    vote(81, "model_a"),  # rows-1: m1
    vote(81, "model_a", judge="expert_2"),  # rows-2: m1
    vote(81, "model_a", judge="expert_3", models=("m2", "m1")),  # rows-3: m2, the other way round
    vote(81, "tie", judge="expert_4"),
    vote(82, "model_b", turn=2),  # rows-5: m2
    vote(82, "model_a", turn=2, judge="expert_2"),  # rows-6: m1, an even split
    vote(83, "model_b", turn=2),  # rows-7: m2
]


def likes_m1(items):
    return {item.id: (1.0, 0.0) if item.tags["winner"] == "m1" else (0.0, 1.0) for item in items}


def test_conversations_are_cut_at_the_judged_turn_and_the_winner_stands_first(read):
    items = read("mt_bench", VOTES).items
    assert [m.content for m in items[2].completions[0].messages] == ["Question 1?", "m2 on 1."]
    assert [m.content for m in items[3].completions[0].messages][2:] == ["Question 2?", "m2 on 2."]


def test_agreement_with_votes_majorities_and_among_humans(read, figures):
    items = read("mt_bench", VOTES)
    assert [row.reason for row in items.rejected] == ["a tie among judges"]

    found = figures(items, likes_m1(items.items))

    # Votes for m1: two of three in turn 1, one of three in turn 2.
    assert found["overall", "overall"].estimate.value == pytest.approx(3 / 6)
    assert found["turns", "turn 1"].estimate.value == pytest.approx(2 / 3)
    assert found["turns", "turn 2"].estimate.value == pytest.approx(1 / 3)
    # Majorities: m1 on 81, none on 82, m2 on 83.
    majority = found["majority of votes", "overall"]
    assert (majority.estimate.value, majority.num_items) == (0.5, 2)
    assert majority.note == "1 even split left out"
    assert found["majority of votes", "turn 1"].estimate.value == 1.0
    # Pairs of votes: on 81 one of three agrees, on 82 none of one.
    assert found["agreement among humans", "overall"].estimate.value == pytest.approx(1 / 4)
    assert found["agreement among humans", "turn 1"].estimate.value == pytest.approx(1 / 3)
    assert found["overall", "overall"].estimate.num == 3  # questions


def test_ties_alone_are_no_votes(read):
    said = r"got none that can be used; left out: 2 for a tie among judges \(first: rows.jsonl, line 1\)"
    with pytest.raises(InvalidInputError, match=said):
        read("mt_bench", [vote(81, "tie"), vote(82, "tie (inconsistent)")])


def test_judges_of_other_kinds_are_told_apart(read, figures):
    rows = [vote(81, "model_a"), vote(81, "model_b", judge="author_1"), vote(81, "model_b", judge=["gpt-4", "pair-v2"])]
    items = read("mt_bench", rows)

    found = figures(items, likes_m1(items.items))

    assert found["judges", "human"].estimate.value == 1.0
    assert found["judges", "author"].estimate.value == 0.0
    assert "pools judges of several kinds" in found["overall", "overall"].note
    assert found["judges", "gpt-4-pair-v2"].estimate.value == 0.0
    assert found["agreement among humans", "overall"].estimate is None
    assert found["turns", "turn 2"].estimate is None
    assert found["majority of votes", "overall"].num_items == 3  # a match is decided by judges of one kind


def silent(vote, side="a"):
    """Return a vote on a conversation whose first reply is empty."""
    messages = vote[f"conversation_{side}"]
    return vote | {f"conversation_{side}": [messages[0], messages[1] | {"content": " "}, *messages[2:]]}


def test_a_vote_on_an_empty_reply_counts_among_humans_only(read, figures):
    rows = [silent(vote(81, "model_b")), silent(vote(81, "model_b", judge="expert_2")), vote(82, "model_a")]
    rows += [silent(vote(82, "model_b", turn=2), "b")]
    items = read("mt_bench", rows)
    assert [item.id for item in items.items] == ["rows-3"]
    assert [row.detail for row in items.rejected] == ["question 81, m1, turn 1"] * 2 + ["question 82, m2, turn 1"]
    result = evaluate(load_benchmark("mt_bench"), items, score_items(items, load_scored_model("random:1")))
    assert (result.num_items, result.exclusions[0].num) == (1, 3)
    assert result.exclusions[0].example == "rows.jsonl, line 1: question 81, m1, turn 1"
    found = {(figure.table, figure.name): figure for figure in result.figures}
    assert found["overall", "overall"].num_items == 1
    ceiling = found["agreement among humans", "turn 1"]
    assert (ceiling.estimate.value, ceiling.num_items, ceiling.note) == (1.0, 3, "1 pairs of votes")
    filled = read("mt_bench", [vote(81, "model_b"), vote(81, "model_b", judge="expert_2"), vote(82, "model_a")])
    assert figures(filled, likes_m1(filled.items))["agreement among humans", "turn 1"].estimate == ceiling.estimate
    assert not items.draw_prompts(1).unscorable or items.draw_prompts(1).items[0].prompt_id == "82"


def test_an_empty_reply_after_the_judged_turn_does_not_matter(read):
    row = vote(81, "model_a")
    row["conversation_a"][3]["content"] = ""
    assert len(read("mt_bench", [row]).items) == 1


def test_numbers_that_pandas_wrote_are_read(read):
    item = read("mt_bench", [vote(81.0, "model_a", turn=1.0)]).items[0]
    assert (item.subset, item.prompt_id, item.tags["turn"]) == ("turn 1", "81", 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"turn": 3}, "turn: expected 1 or 2, got 3"),
        ({"turn": 1.5}, "turn: expected 1 or 2, got 1.5"),
        ({"turn": True}, "turn: expected 1 or 2, got True"),
        ({"question_id": 81.5}, "question_id: expected text or a whole number, got 81.5"),
        ({"winner": "both"}, "winner: expected 'model_a', 'model_b' or a tie, got 'both'"),
        ({"turn": 2, "conversation_b": conversation("m2")[:2]}, "conversation_b: expected at least 2 turns, .* got 1"),
        ({"model_b": "m1"}, "model_b: expected another model than model_a, got 'm1'"),
        ({"conversation_a": "Hi"}, "conversation_a: expected a list of messages, got str"),
    ],
)
def test_a_bad_row_is_named(read, change, said):
    with pytest.raises(InvalidInputError, match=f"rows.jsonl, line 1, {said}"):
        read("mt_bench", [vote(81, "model_a") | change])
