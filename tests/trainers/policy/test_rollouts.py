import math

import pytest

from music.llm.chat import EndpointError
from music.sandbox import SandboxModel
from music_envs import ChatVectorEnv
from music_trainers.policy.rollouts import SILENCE, USER, play
from music_trainers.policy.tokens import ChatTokens


@pytest.fixture(scope="module")
def tokens(tokenizer):
    return ChatTokens(tokenizer, [])


@pytest.fixture
def say(tokenizer, tokens):
    """Return a policy that says the same to everyone."""

    def policy(text):
        reply = [*tokenizer(text)["input_ids"], tokens.closing_id]
        return lambda prompts: [list(reply) for _ in prompts]

    return policy


class FailingUser:
    """The sandbox's user, who breaks down when asked for what a marked conversation would hear next."""

    name = "failing"

    def __init__(self):
        self._user, self.asked = SandboxModel(), 0

    async def complete(self, request):
        self.asked += 1
        if self.asked == 4:  # two openings, then the second message of the second conversation
            raise EndpointError("gone")
        return await self._user.complete(request)

    async def aclose(self):
        pass


def test_every_token_keeps_whose_it_is(tokenizer, tokens, say):
    env = ChatVectorEnv(2, num_turns=3, reward_mode="per_turn")
    for row in play(env, tokens, say("Keep tomato gear simple."), [1, 2]):
        written = row.prompt_ids + row.completion_ids
        messages = row.conversation.to_messages()
        assert written == tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"]
        assert len(row.turns) == len(row.completion_ids)
        for turn in range(3):
            mine = [token for token, owner in zip(row.completion_ids, row.turns, strict=True) if owner == turn]
            assert mine[-1] == tokens.closing_id
            assert tokens.text(mine) == "Keep tomato gear simple."
        others = [token for token, owner in zip(row.completion_ids, row.turns, strict=True) if owner == USER]
        assert (
            tokenizer.decode(others, skip_special_tokens=True).split()
            == " ".join(message["content"] for message in messages[2::2]).split()
        )
        assert len(row.rewards) == 3


def test_equal_seeds_meet_equal_users_and_others_do_not(tokens, say):
    env = ChatVectorEnv(3, num_turns=2)
    first, same, other = (row.conversation for row in play(env, tokens, say("Keep it simple."), [7, 7, 8]))
    assert first == same != other


def test_a_reply_that_was_cut_is_ended_but_not_by_the_policy(tokenizer, tokens):
    cut = tokenizer("Keep tomato")["input_ids"]
    (row,) = play(ChatVectorEnv(1, num_turns=2), tokens, lambda prompts: [list(cut) for _ in prompts], [1])
    ends = [turn for token, turn in zip(row.completion_ids, row.turns, strict=True) if token == tokens.closing_id]
    assert ends == [USER, USER]
    assert [message.content for message in row.conversation.messages[1::2]] == ["Keep tomato"] * 2


def test_a_policy_that_says_nothing_goes_on(tokens):
    (row,) = play(ChatVectorEnv(1, num_turns=2), tokens, lambda prompts: [[tokens.closing_id] for _ in prompts], [1])
    assert [message.content for message in row.conversation.messages[1::2]] == [SILENCE] * 2
    assert row.turns.count(0) == row.turns.count(1) == 1


def test_a_user_who_breaks_down_ends_that_episode_alone(tokens, say):
    env = ChatVectorEnv(2, num_turns=2, user=FailingUser(), reward_mode="per_turn")
    rows = play(env, tokens, say("Keep tomato gear simple."), [1, 2])
    assert sorted(len(row.rewards) for row in rows) == [1, 2]
    for row in rows:
        assert math.isnan(row.rewards[-1]) == (len(row.rewards) == 1)
        assert row.is_over


def test_a_user_who_is_done_ends_the_episode_with_its_reward(tokens, say):
    env = ChatVectorEnv(2, num_turns=3, reward_mode="per_turn", is_done=lambda c: c == first.conversation)
    first = play(ChatVectorEnv(1, num_turns=2), tokens, say("Keep it simple."), [1])[0]
    first.conversation = first.conversation.prefix(3)
    rows = play(env, tokens, say("Keep it simple."), [1, 2])
    assert [len(row.rewards) for row in rows] == [1, 3]
    assert all(math.isfinite(reward) for row in rows for reward in row.rewards)
