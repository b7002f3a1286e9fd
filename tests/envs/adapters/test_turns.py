import pytest

from music.conversation import Conversation, StopReason
from music_envs.adapters.turns import take_turn, turns_of_mask
from music_envs.chat.world import ChatWorld
from music_envs.credit import USER

PROMPT = Conversation().user("Name a river.")


@pytest.mark.parametrize(
    ("mask", "turns"),
    [
        ([], []),
        ([0, 0], [USER, USER]),
        ([1, 1, 0, 1], [0, 0, USER, 1]),
        ([0, 1, 0, 0, 1, 1, 0], [USER, 0, USER, USER, 1, 1, USER]),
    ],
)
def test_the_turns_of_tokens_are_the_runs_of_the_policys(mask, turns):
    assert turns_of_mask(mask) == turns


@pytest.mark.parametrize("mode", ["terminal", "per_turn", "difference"])
@pytest.mark.parametrize("wrong", [{"reply": ""}, {"is_cut": True}])
async def test_an_endless_or_blank_reply_never_pays_more_than_a_closed_one(scripted, reward_length, mode, wrong):
    world = ChatWorld(num_turns=3, user=scripted("user"), reward=reward_length, reward_mode=mode)
    options = {"floor": -5.0, "is_cut": False, "fits": lambda _: True}
    first = await take_turn(world, world.take_up(PROMPT, 0), "One.", **options)
    assert not first.is_unscorable
    assert first.answer
    second = await take_turn(world, first.episode, **{"reply": "Endless"} | options | wrong)
    assert (second.is_unscorable, second.answer, second.episode.is_truncated) == (True, None, True)
    assert second.reward == (-5.0 - 4.0 if mode == "difference" else -5.0)


async def test_the_last_reply_that_fits_has_the_reward_of_the_whole_conversation(scripted, reward_length):
    world = ChatWorld(num_turns=3, user=scripted("user"), reward=reward_length)
    asked = []
    turn = await take_turn(
        world,
        world.take_up(PROMPT, 0),
        "One.",
        floor=-5.0,
        is_cut=False,
        fits=lambda answer: bool(asked.append(answer)),
    )
    assert asked == [turn.episode.conversation.messages[-1].content]
    assert (turn.reward, turn.answer, turn.episode.stop_reason) == (4.0, None, StopReason.CONTEXT_FULL)
    assert turn.episode.is_terminated
