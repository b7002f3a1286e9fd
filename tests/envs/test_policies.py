"""A chat model plays the assistant: an endpoint asked for all replies at once, a local model in batches."""

import asyncio
import logging

import gymnasium
import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import ChatReply, EndpointUnavailableError, ReplyOutcome, Sampling
from music.llm.local import LocalChatModel
from music.sandbox.artifacts import BACKBONE
from music_envs import ChatEnv, ModelPolicy

ASKED = tuple(Conversation().user(f"Name {thing}.") for thing in ("a river", "a tea", "a town in the far north"))
OVER = ASKED[0].assistant("The Rhine.")


class Meeting:
    """A model that answers once as many have come."""

    name = "meeting"

    def __init__(self, num):
        self.barrier = asyncio.Barrier(num)

    async def complete(self, request):
        await asyncio.wait_for(self.barrier.wait(), 30)
        return ChatReply(text=" Well. ", outcome=ReplyOutcome.LENGTH, model=self.name)


def test_all_are_asked_at_once_and_a_reply_that_was_cut_is_one():
    assert ModelPolicy(Meeting(3))(ASKED) == ["Well."] * 3


def test_the_model_reads_the_conversation_and_every_request_has_a_seed_of_its_own(scripted):
    def requests(seed):
        model = scripted()
        policy = ModelPolicy(model, sampling=Sampling(temperature=0.5, max_tokens=9), seed=seed)
        policy(ASKED)
        policy(ASKED[:1])
        return model.requests

    asked = requests(0)
    assert [request.messages for request in asked] == [c.messages for c in (*ASKED, ASKED[0])]
    assert {(request.sampling.temperature, request.sampling.max_tokens) for request in asked} == {(0.5, 9)}
    assert len({request.seed for request in asked}) == 4
    assert asked == requests(0)
    assert asked != requests(1)


def test_conversations_that_are_over_are_not_asked_about(scripted):
    model = scripted()
    replies = ModelPolicy(model)((OVER, ASKED[1], OVER))
    assert [bool(reply) for reply in replies] == [False, True, False]
    assert len(model.requests) == 1
    assert ModelPolicy(model)(()) == []


def test_replies_that_do_not_come_are_blank_and_told_of_and_an_outage_is_an_error(scripted, caplog):
    policy = ModelPolicy(scripted(fails={1, 3, 4, 5}))
    assert [bool(reply) for reply in policy(ASKED)] == [True, False, True]
    assert "1 of 3 replies failed; the first error: scripted is down" in caplog.text
    with pytest.raises(EndpointUnavailableError, match="scripted is down"):
        policy(ASKED)


def test_a_model_that_only_thinks_says_nothing_and_that_is_told_of(caplog):
    class Thinker:
        name = "thinker"

        async def complete(self, request):
            if "tea" in request.messages[-1].content:
                return ChatReply(text="", outcome=ReplyOutcome.THOUGHT, model=self.name, thinking="Hm.")
            return ChatReply(text="Well.", outcome=ReplyOutcome.COMPLETE, model=self.name, thinking="Hm.")

    assert ModelPolicy(Thinker())(ASKED) == ["Well.", "", "Well."]
    assert "1 of 3 replies are blank because the model only thought" in caplog.text


def test_a_bug_in_a_model_surfaces():
    class Broken:
        name = "broken"

        async def complete(self, request):
            return {}[request] if len(request.messages[0].content) > 20 else None

    with pytest.raises(KeyError):
        ModelPolicy(Broken())(ASKED)


def test_a_blank_reply_is_refused_by_the_environment_and_harms_nothing():
    class Silent:
        name = "silent"

        async def complete(self, request):
            return ChatReply(text="", outcome=ReplyOutcome.EMPTY, model=self.name)

    env = ChatEnv()
    conversation, _ = env.reset(seed=0)
    with pytest.raises(InvalidInputError, match="got a blank one"):
        env.step(*ModelPolicy(Silent())([conversation]))
    assert env.step("Well.")[0].num_turns == 1


def test_an_endpoint_as_text_is_opened_and_closed_and_a_lent_model_stays_open(scripted, killable_server):
    url, _ = killable_server()
    policy, model = ModelPolicy(f"good@{url}"), scripted()
    assert all(policy(ASKED))
    for closing in (policy, ModelPolicy(model)):
        closing.close()
        closing.close()
    assert model.num_closed == 0
    with pytest.raises(InvalidInputError, match="MODEL@BASE_URL"):
        ModelPolicy("nonsense")


async def test_it_works_inside_a_running_event_loop():
    assert all(ModelPolicy("sandbox:fair")(ASKED))


@pytest.fixture(scope="module")
def local():
    return LocalChatModel(str(BACKBONE))


@pytest.mark.parametrize(("batch_size", "num_batches"), [(32, 1), (2, 2)])
def test_a_local_model_answers_in_batches_what_it_answers_one_by_one(local, batch_size, num_batches, monkeypatch):
    sizes, generate = [], local._model.generate
    monkeypatch.setattr(
        local._model, "generate", lambda **inputs: sizes.append(len(inputs["input_ids"])) or generate(**inputs)
    )
    sampling = Sampling(temperature=0.0, max_tokens=12)
    together = ModelPolicy(local, sampling=sampling, batch_size=batch_size)(ASKED)
    assert (sum(sizes), len(sizes)) == (3, num_batches)
    assert together == [ModelPolicy(local, sampling=sampling)([conversation])[0] for conversation in ASKED]


def test_a_local_model_samples_alike_with_the_same_seed(local):
    def sample(seed):
        return ModelPolicy(local, sampling=Sampling(temperature=1.0, max_tokens=12), seed=seed)(ASKED)

    assert sample(0) == sample(0) != sample(1)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_it_plays_vector_environments(mode, scripted):
    model = scripted()
    policy = ModelPolicy(model)
    envs = gymnasium.make_vec("music/Chat-v0", num_envs=3, num_turns=2, autoreset_mode=mode)
    conversations, _ = envs.reset(seed=0)
    ends = 0
    for _ in range(6):
        conversations, _, terminations, *_ = envs.step(policy(conversations))
        ends += terminations.sum()
    assert ends == (6 if mode == "NextStep" else 9)
    assert len(model.requests) == (3 * 4 if mode == "NextStep" else 3 * 6)  # the step after an end takes no action


def test_replies_that_are_cut_are_used_and_reported_once(caplog):
    policy = ModelPolicy(LocalChatModel(str(BACKBONE)), sampling=Sampling(max_tokens=1))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert all(policy([Conversation().user("Name a river.")] * 3))
    (record,) = caplog.records
    assert record.getMessage().startswith("3 of 3 replies were cut at the limit of tokens")
