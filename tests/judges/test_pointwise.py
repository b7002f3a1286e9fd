import math

import pytest

from music.conversation import Conversation
from music.judges.model import open_judge_model
from music.judges.pointwise import PointwiseJudge, expected_rating
from music.judges.settings import JudgeSettings
from music.llm import ChatReply, ReplyOutcome, TokenLogprobs
from music.sandbox import oracle_score
from music.sandbox.server import ServerConfig, sandbox_server
from music.sandbox.world.seeds import seed_pairs

TALK = Conversation().user("Which tea?").assistant("Green.")


def reply(*tokens):
    text = "".join(token for token, _ in tokens)
    logprobs = tuple(
        TokenLogprobs(token, tuple((other, math.log(share)) for other, share in shares.items()))
        for token, shares in tokens
    )
    return ChatReply(text=text, outcome=ReplyOutcome.COMPLETE, model="m", logprobs=logprobs)


async def rate(endpoint, conversation=TALK, **settings):
    async with open_judge_model(endpoint, JudgeSettings(**settings)) as model:
        return await PointwiseJudge(model).rate(conversation)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([("[[", {"[[": 1.0}), ("7", {"7": 0.5, "8": 0.3, "6": 0.1, "x": 0.1}), ("]]", {})], (3.5 + 2.4 + 0.6) / 0.9),
        ([("7", {"7": 0.5, " 7": 0.25, "1": 0.25})], 0.75 * 7 + 0.25),
        ([("In 7", {}), (" of", {}), (" 7", {"3": 1.0}), (" [[", {}), ("7", {"7": 0.5, "9": 0.5}), ("]].", {})], 8.0),
        ([("7", {"7": 0.5, "0": 0.2, "10": 0.3})], 7.0),
        ([("[[7]]", {"[[7]]": 1.0})], None),
        ([("7", {})], None),
        ([("7", {"nine": 1.0})], None),
    ],
)
def test_the_expected_rating_is_the_mean_over_the_scale_in_the_place_of_the_rating(tokens, expected):
    found = expected_rating(reply(*tokens), 7)
    assert found == (None if expected is None else pytest.approx(expected))


async def test_expected_ratings_of_the_sandbox_over_http_are_its_oracles_scores():
    conversations = [pair.rejected for pair in seed_pairs(12, 3)]
    with sandbox_server(ServerConfig()) as url:
        rated = [await rate(f"judge@{url}", conversation) for conversation in conversations]
    assert all(each.ratings[0].value.is_expected for each in rated)
    expected = [1 + 8 * score for score in oracle_score(conversations)]
    assert [each.score for each in rated] == pytest.approx(expected)
    assert any(score % 1 for score in expected)


async def test_probabilities_of_ratings_in_the_thinking_do_not_count(judges):
    (rating,) = (await rate(f"thinks-of-a-rating@{judges}")).ratings
    assert (rating.value.value, rating.value.is_expected) == (pytest.approx(7.5), True)


async def test_without_probabilities_the_rating_that_was_written_counts(judges):
    (rating,) = (await rate(f"rates@{judges}")).ratings
    assert (rating.value.value, rating.value.is_expected) == (7.0, False)
    assert (await rate(f"doubts@{judges}")).score == pytest.approx(7.5)


async def test_an_endpoint_that_refuses_probabilities_is_asked_without_them_from_then_on(judges, stats):
    async with open_judge_model(f"reasons@{judges}") as model:
        judge = PointwiseJudge(model)
        assert [(await judge.rate(TALK.user(word).assistant("Yes."))).score for word in "abc"] == [7.0, 7.0, 7.0]
        assert (model.num_judgements, dict(model.problems)) == (3, {})
    assert stats(judges)["refused"] == 1


async def test_samples_are_averaged_and_a_rating_that_cannot_be_read_is_none(judges):
    assert len((await rate(f"rates@{judges}", num_samples=3)).ratings) == 3
    rated = await rate(f"mumbles@{judges}")
    assert (rated.score, rated.failure.problem) == (None, "unreadable")


def test_several_samples_need_a_temperature():
    with pytest.raises(ValueError, match="temperature above 0"):
        JudgeSettings(num_samples=2, temperature=0)
