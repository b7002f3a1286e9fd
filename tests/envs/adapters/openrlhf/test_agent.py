import pytest

from music.conversation import Conversation
from music.reward.tokens.contract import UnscorableError
from music_envs.chat.world import ChatWorld

MESSAGES = [{"role": "user", "content": "Name a river."}]
OKAY = {"unscorable": 0.0, "context_full": 0.0, "user_failed": 0.0}


def too_long(conversations):
    raise UnscorableError("over_long")


def told(logs):
    return {name: logs[name] for name in OKAY}


async def test_openrlhfs_own_loop_plays_a_conversation_in_the_templates_own_text(
    execute, tokenizer, prompt, scripted, reward_length
):
    world = ChatWorld(num_turns=3, reward=reward_length, reward_mode="difference", user=scripted("user"))
    done = await execute(world, "One.", "Two!!", "Three.")
    assert done.reward == 15.0
    assert done.extra_logs == OKAY | {
        "num_replies": 3.0,
        "turn_reward_0": 4.0,
        "turn_reward_1": 5.0,
        "turn_reward_2": 6.0,
    }
    replies = [tokenizer.decode(done.observation_tokens[a:b]) for a, b in done.action_ranges]
    assert replies == ["One.<|end|>", "Two!!<|end|>", "Three.<|end|>"]
    said = [context.split("<|user|>")[-1].split("<|end|>")[0] for context in done.contexts[1:]]
    whole = Conversation.from_messages(MESSAGES).assistant("One.").user(said[0]).assistant("Two!!").user(said[1])
    rendered = tokenizer.apply_chat_template(whole.assistant("Three.").to_messages(), tokenize=False)
    assert tokenizer.decode(done.observation_tokens) == rendered


@pytest.mark.parametrize("mode", ["terminal", "per_turn", "difference"])
async def test_an_endless_reply_gets_the_floor_and_never_0(execute, reward_length, scripted, mode):
    world = ChatWorld(num_turns=3, reward=reward_length, reward_mode=mode, user=scripted("user"))
    first = await execute(world, "on and on " * 99, max_length=64)
    assert (first.reward, told(first.extra_logs)) == (-5.0, OKAY | {"unscorable": 1.0})
    assert first.truncated
    second = await execute(world, "One.", "on and on " * 99, max_length=128)
    assert (len(second.observation_tokens), second.truncated) == (128, True)
    assert told(second.extra_logs) == OKAY | {"unscorable": 1.0}
    assert second.reward == {"terminal": -5.0, "per_turn": 4.0 - 5.0, "difference": -5.0}[mode]


async def test_a_conversation_ends_with_its_own_reward_where_no_other_reply_fits(execute, tokenizer, reward_length):
    world = ChatWorld(num_turns=3, reward=reward_length)
    whole = await execute(world, "One.", "Two!!", "Three.")
    third_begins, _ = whole.action_ranges[2]
    for room, num_replies in ((8, 3), (9, 2)):
        done = await execute(world, "One.", "Two!!", "3.", max_length=third_begins + 8, reply_room=room)
        is_full = float(num_replies < 3)
        assert done.extra_logs["num_replies"] == num_replies
        assert told(done.extra_logs) == OKAY | {"context_full": is_full}
        assert done.reward == (9.0 if is_full else 11.0)
        assert tokenizer.decode(done.observation_tokens).endswith("<|end|>")
        assert len(done.observation_tokens) <= third_begins + 8


@pytest.mark.parametrize(("reward", "reply"), [("length", " <|end|>"), (too_long, "An endless one.")])
async def test_what_cannot_be_scored_ends_with_the_floor_and_is_counted(execute, reward, reply):
    done = await execute(ChatWorld(num_turns=1, reward=reward), reply)
    assert (done.reward, told(done.extra_logs)) == (-5.0, OKAY | {"unscorable": 1.0})


async def test_a_failing_user_ends_its_conversation_alone_and_is_counted(execute, scripted, reward_length):
    world = ChatWorld(num_turns=3, reward=reward_length, user=scripted("user", fails={1}))
    done = await execute(world, "One.", "Two!!")
    assert (done.reward, told(done.extra_logs)) == (9.0, OKAY | {"user_failed": 1.0})
    assert [done.extra_logs[f"turn_reward_{turn}"] for turn in range(3)] == [0.0, 9.0, 0.0]


async def test_a_reply_that_ends_with_another_token_is_closed_as_the_template_does(execute, tokenizer, reward_length):
    done = await execute(ChatWorld(num_turns=2, reward=reward_length), "One.<|pad|>", "Two.")
    assert "One.<|pad|><|end|><|user|>" in tokenizer.decode(done.observation_tokens)
    assert done.reward == 8.0
