import dataclasses
import math

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.evaluation.benchmarks.types import Item, ItemSet
from music.evaluation.scoring import UnscoredError, load_scored_model, score_items
from music.reward import RewardModel, UnscorableError

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def model(reward_checkpoint):
    return RewardModel.from_pretrained(reward_checkpoint(), device="cpu")


@pytest.fixture
def shortened(model):
    return RewardModel(model._classifier, model.tokens.with_contract(max_length=60), "cpu")


def with_completion(items, conversation):
    """Return the items and one more, whose second completion is given."""
    prompt = Conversation().user("Short.")
    odd = Item(
        id="odd",
        subset="a",
        completions=(prompt.assistant("Yes."), conversation),
        labels=(1.0, 0.0),
        prompt_id="odd",
    )
    return dataclasses.replace(items, items=(*items.items, odd))


def test_scores_are_those_of_each_conversation_alone_and_prompts_are_computed_once(
    model, make_items, make_scored_model, count_tokens
):
    items = make_items(12, num_characters=200)
    with count_tokens(model) as counts:
        scored = score_items(items, make_scored_model(model))
    with count_tokens(model) as alone_counts:
        alone = {item.id: [model.score([c])[0] for c in item.completions] for item in items.items}
    assert {id: list(row.scores) for id, row in scored.rows.items()} == {
        id: pytest.approx(scores, abs=TOLERANCE) for id, scores in alone.items()
    }
    assert sum(counts) < 0.6 * sum(alone_counts)


def test_a_conversation_is_scored_once_whoever_brings_it(make_items, make_scored_model):
    items = make_items(3)
    again = ItemSet("fruit", (*items.items, dataclasses.replace(items.items[0], id="again")))
    scored_model = make_scored_model()
    rows = score_items(again, scored_model).rows
    assert len(scored_model.reward.asked) == 9
    assert rows["again"].scores == rows["fruit/0"].scores


def test_items_of_one_chunk_share_prompts_and_the_longest_come_first(make_items, make_scored_model):
    short, long = make_items(2), make_items(4, num_characters=70_000)
    renamed = tuple(dataclasses.replace(item, id=f"short/{item.id}") for item in short.items)
    scored_model = make_scored_model()
    told = []
    score_items(ItemSet("fruit", renamed + long.items), scored_model, on_scored=told.append)
    lengths = [len(conversation.messages[0].content) for conversation in scored_model.reward.asked]
    assert lengths == sorted(lengths, reverse=True)
    assert told == [0, 1, 1, 1, 1, 2]  # none taken up; a long item fills a chunk


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused_with_its_place(make_items, make_scored_model, score):
    items = make_items(2)
    bad = items.items[1].completions[2]
    scored_model = make_scored_model(lambda conversations: [score if c == bad else 1.0 for c in conversations])
    with pytest.raises(InvalidInputError, match=f"fruit/1, completion 2: expected a finite score, got {score}"):
        score_items(items, scored_model)


def test_a_completion_that_nobody_answered_is_refused(model, make_items, make_scored_model):
    items = with_completion(make_items(1), Conversation().user("Short."))
    with pytest.raises(InvalidInputError, match="odd, completion 1: expected it to end with the assistant"):
        score_items(items, make_scored_model(model))


def test_completions_without_a_score_are_an_error_or_are_told(shortened, make_items, make_scored_model):
    items = with_completion(make_items(2), Conversation().user("Short.").assistant("walk " * 100))
    with pytest.raises(UnscoredError, match=r"none for a completion of 1 \(over_long 1\): odd; raise"):
        score_items(items, make_scored_model(shortened))
    row = score_items(items, make_scored_model(shortened), strict=False).rows["odd"]
    assert row.problem == "over_long"
    assert row.scores == (pytest.approx(shortened.score([items.items[2].completions[0]])[0], abs=TOLERANCE), None)


def test_what_is_kept_of_such_items_is_no_excuse_later(shortened, make_items, make_scored_model, tmp_path):
    items = with_completion(make_items(2), Conversation().user("Short.").assistant("walk " * 100))
    score_items(items, make_scored_model(shortened), tmp_path / "scores.jsonl", strict=False)
    with pytest.raises(UnscoredError, match="odd"):
        score_items(items, make_scored_model(shortened), tmp_path / "scores.jsonl")


def test_scores_of_truncated_conversations_are_counted(shortened, make_items, make_scored_model):
    long = Conversation()
    for _ in range(6):
        long = long.user("Name a fruit for the walk.").assistant("An apple is a fruit.")
    rows = score_items(with_completion(make_items(2), long), make_scored_model(shortened)).rows
    assert [row.num_truncated for row in rows.values()].count(1) == 1
    assert rows["odd"].num_truncated == 1


def test_a_reward_that_refuses_conversations_is_asked_until_it_is_known_which(make_items, make_scored_model):
    items = make_items(5)
    bad = {items.items[1].completions[2], items.items[3].completions[0]}

    def reward(conversations):
        if bad & set(conversations):
            raise UnscorableError("one of them has more than 512 tokens")
        return [float(len(c.messages[-1].content)) for c in conversations]

    with pytest.raises(UnscoredError, match=r"completion of 2 \(refused 2\): fruit/1, fruit/3 \(one of them has more"):
        score_items(items, make_scored_model(reward))
    rows = score_items(items, make_scored_model(reward), strict=False).rows
    assert [row.id for row in rows.values() if row.problem] == ["fruit/1", "fruit/3"]
    assert rows["fruit/1"].scores[:2] == (float(len("An apple  of 1.")), float(len("An apple and a pear  of 1.")))
    assert rows["fruit/1"].scores[2] is None


def test_models_are_known_by_their_weights_and_baselines_by_name(reward_checkpoint, model):
    scored_model = load_scored_model(str(reward_checkpoint()))
    assert scored_model.fingerprint == model.fingerprint
    assert "LlamaForSequenceClassification" in scored_model.description
    assert load_scored_model("length").fingerprint is None
