import asyncio
import math

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm.chat import EndpointError
from music.sandbox import SandboxModel
from music_envs import ChatVectorEnv
from music_envs.credit import USER
from music_trainers.policy.chat_tokens import ChatTokens
from music_trainers.policy.rollouts import UNSCORABLE, EpisodeRules, roll_out


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
    for row in roll_out(env, tokens, say("Keep tomato gear simple."), [1, 2]):
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
    first, same, other = (row.conversation for row in roll_out(env, tokens, say("Keep it simple."), [7, 7, 8]))
    assert first == same != other


def test_a_reply_that_was_cut_is_ended_but_not_by_the_policy(tokenizer, tokens):
    cut = tokenizer("Keep tomato")["input_ids"]
    (row,) = roll_out(ChatVectorEnv(1, num_turns=2), tokens, lambda prompts: [list(cut) for _ in prompts], [1])
    ends = [turn for token, turn in zip(row.completion_ids, row.turns, strict=True) if token == tokens.closing_id]
    assert ends == [USER, USER]
    assert [message.content for message in row.conversation.messages[1::2]] == ["Keep tomato"] * 2
    assert (row.num_cut, row.num_blank) == (2, 0)


def mixed(tokenizer, tokens, *texts):
    """Return a policy that gives each episode its own text, turn after turn; an empty one is an end token alone."""
    replies = [[*(tokenizer(text)["input_ids"] if text else []), tokens.closing_id] for text in texts]

    def policy(prompts):
        return [list(replies[place]) for place in order.pop(0)]

    order = []
    return policy, order


def test_silence_ends_its_episode_and_gets_the_lowest_score_of_all(tokenizer, tokens):
    texts = ("Plan it.", "", "Plan the tomato gear early.")
    policy, order = mixed(tokenizer, tokens, *texts)
    order += [[0, 1, 2], [0, 2]]
    scored = []

    def reward(conversations):
        scored.extend(conversations)
        return [len(each.messages[-1].content) - 100.0 for each in conversations]

    env = ChatVectorEnv(3, num_turns=2, reward=reward, reward_mode="per_turn")
    first, silent, last = roll_out(env, tokens, policy, [1, 2, 3])
    low, high = len(texts[0]) - 100.0, len(texts[2]) - 100.0
    assert (first.rewards, silent.rewards, last.rewards) == ([low, low], [low], [high, high])
    assert (silent.is_unscorable, silent.num_blank, silent.is_over) == (True, 1, True)
    assert silent.completion_ids == [tokens.closing_id]
    assert silent.turns == [0]
    assert silent.conversation.messages[-1].role == "user"  # nothing is written for it
    (given,) = roll_out(
        ChatVectorEnv(1, reward_mode="per_turn"),
        tokens,
        lambda prompts: [[tokens.closing_id]],
        [1],
        EpisodeRules(floor=-7.0),
    )
    assert given.rewards == [-7.0]


def test_a_reply_that_cannot_be_scored_gets_the_floor_and_the_others_keep_their_scores(tokenizer, tokens):
    policy, order = mixed(tokenizer, tokens, "Plan it.", "Keep tomato gear simple.")
    order += [[0, 1], [0]]

    def reward(conversations):
        return [UNSCORABLE if "tomato gear simple" in each.messages[-1].content else 2.0 for each in conversations]

    env = ChatVectorEnv(2, num_turns=2, reward=reward, reward_mode="per_turn")
    sound, refused = roll_out(env, tokens, policy, [1, 2], EpisodeRules(floor=-3.0))
    assert (sound.rewards, sound.is_unscorable) == ([2.0, 2.0], False)
    assert (refused.rewards, refused.is_unscorable, refused.num_blank) == ([-3.0], True, 0)


def test_an_episode_whose_next_prompt_does_not_fit_ends_with_its_last_reward(tokens, say):
    whole = roll_out(ChatVectorEnv(2, num_turns=3, reward_mode="per_turn"), tokens, say("Keep it simple."), [1, 2])
    read = [len(row.prompt_ids) + row.turns.index(1) for row in whole]  # before the second reply
    rules = EpisodeRules(max_prompt_tokens=max(read) - 1)
    rows = roll_out(
        ChatVectorEnv(2, num_turns=3, reward_mode="per_turn"), tokens, say("Keep it simple."), [1, 2], rules
    )
    for row, full, length in zip(rows, whole, read, strict=True):
        if length > rules.max_prompt_tokens:
            assert (row.is_full, row.rewards) == (True, full.rewards[:1])
            assert row.completion_ids == full.completion_ids[: len(row.completion_ids)]
            assert USER not in row.turns
            assert row.conversation == full.conversation.prefix(row.conversation.turn_ends[-1])
    assert any(row.is_full for row in rows)


def test_an_opening_that_does_not_fit_is_an_error_of_that_episode(tokens, say):
    rules = EpisodeRules(max_prompt_tokens=3)
    (row,) = roll_out(ChatVectorEnv(1, reward_mode="per_turn"), tokens, say("Keep it simple."), [1], rules)
    assert "an opening of at most 3 tokens" in row.error
    assert row.turns == [USER]
    assert math.isnan(row.rewards[0])


def test_a_terminal_reward_is_that_of_the_last_reply(tokens, say):
    whole = roll_out(ChatVectorEnv(2, reward_mode="per_turn"), tokens, say("Keep it simple."), [1, 2])
    rules = EpisodeRules(is_terminal=True)
    for row, full in zip(
        roll_out(ChatVectorEnv(2, reward_mode="per_turn"), tokens, say("Keep it simple."), [1, 2], rules),
        whole,
        strict=True,
    ):
        assert row.rewards == [0.0, 0.0, full.rewards[-1]]


def test_a_user_who_breaks_down_ends_that_episode_alone(tokens, say):
    env = ChatVectorEnv(2, num_turns=2, user=FailingUser(), reward_mode="per_turn")
    rows = roll_out(env, tokens, say("Keep tomato gear simple."), [1, 2])
    assert sorted(len(row.rewards) for row in rows) == [1, 2]
    for row in rows:
        assert math.isnan(row.rewards[-1]) == (len(row.rewards) == 1)
        assert row.is_over
        assert row.error == ("gone" if len(row.rewards) == 1 else "")


def test_a_user_who_is_done_ends_the_episode_with_its_reward(tokens, say):
    env = ChatVectorEnv(2, num_turns=3, reward_mode="per_turn", is_done=lambda c: c == first.conversation)
    first = roll_out(ChatVectorEnv(1, num_turns=2), tokens, say("Keep it simple."), [1])[0]
    first.conversation = first.conversation.prefix(3)
    rows = roll_out(env, tokens, say("Keep it simple."), [1, 2])
    assert [len(row.rewards) for row in rows] == [1, 3]
    assert all(math.isfinite(reward) for row in rows for reward in row.rewards)


TALK = Conversation().user("Two tips for tomato gear?").assistant("Plan tomato gear early.").user("And the cost?")


def whole(tokenizer, conversation):
    return tokenizer.apply_chat_template(conversation.to_messages(), add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]


def test_a_conversation_that_grows_is_what_the_template_makes_of_the_whole(tokenizer):
    tokens = ChatTokens(tokenizer, [])
    reply = tokenizer("Plan tomato gear early.")["input_ids"]
    grown = [*tokens.opening(TALK.prefix(1)), *reply, tokens.closing_id, *tokens.between("And the cost?")]
    assert grown == whole(tokenizer, TALK)


def test_what_a_template_writes_behind_the_end_token_belongs_to_what_follows(make_tokenizer):
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    tokens = ChatTokens(tokenizer, tokenizer.convert_tokens_to_ids(["<|end|>"]))
    reply = tokenizer("Plan tomato gear early.", add_special_tokens=False)["input_ids"]
    grown = [*tokens.opening(TALK.prefix(1)), *reply, tokens.closing_id, *tokens.between("And the cost?")]
    assert tokenizer.decode(grown) == tokenizer.decode(whole(tokenizer, TALK))
    assert grown == whole(tokenizer, TALK)


def test_text_has_no_end_token(tokenizer):
    tokens = ChatTokens(tokenizer, [])
    assert tokens.text([*tokenizer("Plan it.")["input_ids"], tokens.closing_id]) == "Plan it."
    assert tokens.text([tokens.closing_id]) == ""


def test_a_template_that_never_ends_a_reply_is_refused(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    with pytest.raises(InvalidInputError, match="ends replies with a token"):
        ChatTokens(tokenizer, [])


def test_a_template_that_closes_a_reply_otherwise_once_more_follows_is_refused(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
        "{{ '<|end|>' if loop.last else '<|bos|>' }}{% endfor %}"
    )
    with pytest.raises(InvalidInputError, match="differently once more turns follow"):
        ChatTokens(tokenizer, tokenizer.convert_tokens_to_ids(["<|end|>"]))


def test_a_policy_reads_the_same_date_on_every_day_and_keeps_its_template(tokenizer, set_clock):
    dated = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    tokenizer.chat_template = dated
    openings = []
    for day in (2026, 3, 5), (2027, 11, 28):
        set_clock(*day)
        openings.append(ChatTokens(tokenizer, []).opening(TALK))
    assert openings[0] == openings[1]
    assert "26 Jul 2024" in tokenizer.decode(openings[0])
    assert tokenizer.chat_template == dated


def test_of_several_chat_templates_the_default_is_taken(make_tokenizer):
    tokenizer = make_tokenizer()
    end = tokenizer.convert_tokens_to_ids(["<|end|>"])
    single = ChatTokens(tokenizer, end).opening(TALK)
    tokenizer.chat_template = {"default": tokenizer.chat_template, "rag": "{{ messages | length }}"}
    assert ChatTokens(tokenizer, end).opening(TALK) == single
    tokenizer.chat_template = {"rag": "{{ messages | length }}"}
    with pytest.raises(InvalidInputError, match="rag, is named default: save the policy's tokenizer with one"):
        ChatTokens(tokenizer, end)
    tokenizer.chat_template = None
    with pytest.raises(InvalidInputError, match="no chat template: save the policy's tokenizer with one"):
        ChatTokens(tokenizer, end)


class SlowUser:
    """The sandbox's user, who answers a marked conversation only when told to."""

    name = "slow"

    def __init__(self, mark):
        self._user, self._mark, self.answers = SandboxModel(), mark, 0
        self.may_answer = asyncio.Event()

    async def complete(self, request):
        if any(self._mark in message.content for message in request.messages):
            await self.may_answer.wait()
        else:
            self.answers += 1
            if self.answers == 2 * 2:  # two openings, then both answers to the other conversation
                self.may_answer.set()
        return await self._user.complete(request)

    async def aclose(self):
        pass


SLOW, FAST = "Plan tomato gear early.", "Keep it simple."


def by_prompt(tokenizer, tokens):
    """Return a policy that says the same at every turn: to the first prompt it is ever given this, to others that."""
    firsts = []

    def policy(prompts):
        firsts.extend(prompts[:1] if not firsts else [])
        texts = [SLOW if prompt[: len(firsts[0])] == firsts[0] else FAST for prompt in prompts]
        return [[*tokenizer(text)["input_ids"], tokens.closing_id] for text in texts]

    return policy


def test_asynchronous_episodes_do_not_wait_for_the_users_of_others(tokenizer, tokens):
    rules = EpisodeRules(is_asynchronous=True)
    env = ChatVectorEnv(2, num_turns=3, user=SlowUser(SLOW), reward_mode="per_turn")
    rows = roll_out(env, tokens, by_prompt(tokenizer, tokens), [1, 2], rules)  # in lock-step it would never end
    expected = roll_out(
        ChatVectorEnv(2, num_turns=3, reward_mode="per_turn"), tokens, by_prompt(tokenizer, tokens), [1, 2]
    )
    assert rows == expected


def test_late_episodes_lose_their_last_reply_and_leave_the_next_batch_alone(tokenizer, tokens):
    rules = EpisodeRules(is_asynchronous=True, min_finished=0.5)
    user = SlowUser(SLOW)
    user.answers = 99  # it never answers
    env = ChatVectorEnv(2, num_turns=3, user=user, reward_mode="per_turn")
    late, finished = roll_out(env, tokens, by_prompt(tokenizer, tokens), [1, 2], rules)
    assert (late.is_late, finished.is_late) == (True, False)
    assert (late.is_over, late.error) == (True, "")
    assert len(late.rewards) == 1
    assert math.isnan(late.rewards[0])
    assert all(map(math.isfinite, finished.rewards))
    user.may_answer.set()
    again = roll_out(env, tokens, by_prompt(tokenizer, tokens), [1, 2], EpisodeRules(is_asynchronous=True))
    assert [len(row.rewards) for row in again] == [3, 3]
    assert again[1] == finished


def test_no_user_is_asked_for_an_episode_that_ended_early(tokenizer, tokens):
    policy, order = mixed(tokenizer, tokens, "", "Keep it simple.")
    order += [[0, 1], [1], [1]]
    user = SlowUser("nobody")
    env = ChatVectorEnv(2, num_turns=3, user=user, reward_mode="per_turn")
    silent, whole = roll_out(env, tokens, policy, [1, 2])
    assert (len(silent.rewards), len(whole.rewards)) == (1, 3)
    assert user.answers == 2 + 2  # the openings, and what one conversation needs
