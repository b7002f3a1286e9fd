"""Conversations played by verl's own worker, as its trainer reads them."""

import asyncio

import pytest

from music.reward.tokens.contract import UnscorableError
from music_envs.chat.world import ChatWorld

PROMPT = [{"role": "user", "content": "Name a river."}]
SANDBOX = {"num_turns": 3, "user": "sandbox", "reward": "length", "reward_mode": "difference"}


def too_long(conversations):
    raise UnscorableError("over_long")


def reported(row):
    return row["extra_fields"]["reward_extra_info"]


async def test_the_policys_tokens_stay_and_the_users_are_masked(roll_out):
    done = await roll_out(SANDBOX, ["Six: .", "Ten chars.", "Ab"])
    (row,), decode = done.rows, done.tokenizer.decode
    assert done.keys == ["prompt_0_0"]
    said = [message["content"] for message in row["extra_fields"]["messages"]]
    assert [message["role"] for message in row["extra_fields"]["messages"]] == ["user", "assistant"] * 3
    whole = done.tokenizer.apply_chat_template(row["extra_fields"]["messages"], tokenize=False)
    assert decode(row["prompts"] + row["responses"]) == decode(
        done.tokenizer(whole, add_special_tokens=False)["input_ids"]
    )
    policy = [token for token, is_policy in zip(row["responses"], row["response_mask"], strict=True) if is_policy]
    close = done.tokenizer.eos_token_id
    replies = [done.tokenizer(reply, add_special_tokens=False)["input_ids"] + [close] for reply in said[1::2]]
    assert policy == [token for reply in replies for token in reply]
    # The stand-in's calls have the log-probabilities -1.00, -1.01, ...; -2.00, -2.01, ... and so on.
    logprobs = [-turn - place / 100 for turn, reply in enumerate(replies, 1) for place in range(len(reply))]
    given = zip(row["rollout_log_probs"], row["response_mask"], strict=True)
    assert [value for value, is_policy in given if is_policy] == pytest.approx(logprobs)
    assert {
        v for v, is_policy in zip(row["rollout_log_probs"], row["response_mask"], strict=True) if not is_policy
    } == {0}
    assert done.prompts[2] == decode(row["prompts"] + row["responses"])[: len(done.prompts[2])]
    assert (row["num_turns"], row["extra_fields"]["stop_reason"]) == (6, "turn_limit")
    assert (row["extra_fields"]["min_global_steps"], row["extra_fields"]["max_global_steps"]) == (1, 3)


async def test_the_reward_of_a_turn_is_on_the_last_token_of_its_reply(roll_out):
    (row,) = (await roll_out(SANDBOX, ["Six: .", "Ten chars.", "Ab"])).rows
    ends = row["extra_fields"]["turn_ends"]
    changes = zip(row["response_mask"], [*row["response_mask"][1:], 0], strict=True)
    assert ends == [place for place, (mask, following) in enumerate(changes) if mask and not following]
    assert {place: score for place, score in enumerate(row["rm_scores"]) if score} == dict(
        zip(ends, [6.0, 10.0, 2.0], strict=True)
    )
    assert row["extra_fields"]["turn_rewards"] == [6.0, 10.0, 2.0]


async def test_the_reward_model_sees_roles_and_not_one_text(roll_out, scripted):
    seen = []

    def reward(conversations):
        seen.extend(conversation.to_messages() for conversation in conversations)
        return [0.5] * len(conversations)

    await roll_out(ChatWorld(num_turns=2, user=scripted("user"), reward=reward), ["One.", "Two."])
    (talk,) = seen
    assert [message["role"] for message in talk] == ["user", "assistant", "user", "assistant"]
    assert [message["content"] for message in talk[:2]] == ["Name a river.", "One."]
    assert talk[2]["content"].startswith("user-")
    assert talk[3]["content"] == "Two."


async def test_what_cannot_be_scored_gets_the_floor_and_is_marked(roll_out):
    endless = "on and on " * 99
    done = await roll_out(SANDBOX, ["Six: .", "  "], [endless], ["Six: .", endless], max_response_length=64)
    for row, total in zip(done.rows, [-5.0, -5.0, -5.0], strict=True):
        assert sum(row["rm_scores"]) == total
        assert row["rm_scores"][-1] in (-5.0, -5.0 - 6.0)  # the last reply is paid back what the first one added
        assert reported(row)["unscorable"] == 1.0
        assert row["response_mask"][-1] == 1
    assert [len(row["responses"]) for row in done.rows[1:]] == [64, 64]


async def test_a_reply_that_is_too_long_for_the_reward_model_gets_the_floor(roll_out):
    (row,) = (await roll_out(ChatWorld(num_turns=1, reward=too_long), ["An endless one."])).rows
    assert (sum(row["rm_scores"]), reported(row)["unscorable"]) == (-5.0, 1.0)


async def test_a_conversation_ends_with_its_own_reward_where_no_other_reply_fits(roll_out):
    (whole,) = (await roll_out(SANDBOX, ["Six: .", "Ten chars.", "Ab"])).rows
    begins = (
        whole["extra_fields"]["turn_ends"][1]
        + 1
        + whole["response_mask"][whole["extra_fields"]["turn_ends"][1] + 1 :].index(1)
    )
    for room, num_replies in ((8, 3), (9, 2)):
        (row,) = (
            await roll_out(SANDBOX, ["Six: .", "Ten chars.", "Ab"], max_response_length=begins + 8, reply_room=room)
        ).rows
        assert reported(row) == {"unscorable": 0.0, "context_full": float(num_replies == 2), "num_replies": num_replies}
        assert row["extra_fields"]["turn_rewards"] == [6.0, 10.0, 2.0][:num_replies]
        assert row["response_mask"][-1] == 1


async def test_a_failing_user_leaves_its_rollout_out_and_no_other(roll_out, scripted, reward_length, caplog):
    world = ChatWorld(num_turns=2, user=scripted("user", fails={0}), reward=reward_length)
    done = await roll_out(world, ["One.", "Two."], ["One.", "Two."])
    assert (done.status, len(done.rows)) == ("finished", 1)
    assert sum(done.rows[0]["rm_scores"]) == 8.0
    assert "left out: the user failed: user is down" in caplog.text


async def test_conversations_do_not_wait_for_each_others_users(roll_out, scripted, reward_length):
    both_ask = asyncio.Barrier(2)

    class Waiting(scripted):
        async def complete(self, request):
            await both_ask.wait()  # never returns if the users are asked one after the other
            return await super().complete(request)

    world = ChatWorld(num_turns=2, user=Waiting("user"), reward=reward_length)
    done = await asyncio.wait_for(roll_out(world, ["One.", "Two."], ["One.", "Two."]), timeout=60)
    assert len(done.rows) == 2


async def test_a_prompt_that_is_too_long_is_refused_and_not_cut(roll_out, caplog):
    long = [{"role": "user", "content": "Name a river. " * 40}]
    done = await roll_out(SANDBOX, ["One."], prompt=long)
    assert (done.status, done.rows) == ("failure", [])
    assert "data.filter_overlong_prompts" in caplog.text
