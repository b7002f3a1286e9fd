import pytest

from music.errors import InvalidInputError
from music.reward.tokens.contract import UnscorableError
from music_envs.adapters.verl import as_compute_score

MESSAGES = [{"role": "user", "content": "Name a river."}]


def call(compute_score, reply, **extra_info):
    """Call as verl's naive reward manager does."""
    return compute_score(data_source="rivers", solution_str=reply, ground_truth="", extra_info=extra_info)


def test_it_scores_the_reply_in_its_conversation():
    seen = []

    def reward(conversations):
        seen.extend(conversations)
        return [0.5]

    found = call(as_compute_score(reward, floor=0.0), "The Rhine.", messages=MESSAGES, num_turns=2)
    assert found == {"score": 0.5, "unscorable": 0.0}
    assert [conversation.to_messages() for conversation in seen] == [
        [*MESSAGES, {"role": "assistant", "content": "The Rhine."}]
    ]


def too_long(conversations):
    raise UnscorableError("over_long")


@pytest.mark.parametrize("reply", ["  ", "An endless one."])
def test_what_cannot_be_scored_has_the_floor_and_is_counted(reply):
    found = call(as_compute_score(too_long, floor=-5.0), reply, messages=MESSAGES)
    assert found == {"score": -5.0, "unscorable": 1.0}


@pytest.mark.parametrize(
    ("extra_info", "message"),
    [
        ({"index": 3}, "`messages` in extra_info, got the keys"),
        ({"messages": "Name a river."}, "messages"),
        ({"messages": MESSAGES, "num_turns": 4}, "4 turns"),
    ],
)
def test_text_without_its_messages_is_refused(reward_length, extra_info, message):
    with pytest.raises(InvalidInputError, match=message):
        call(as_compute_score(reward_length, floor=0.0), "The Rhine.", **extra_info)


def test_verls_own_loader_takes_a_file_as_documented(gpu_only, tmp_path):
    from omegaconf import OmegaConf
    from verl.trainer.ppo import reward

    file = tmp_path / "score.py"
    file.write_text(
        "from music.reward import length_reward\nfrom music_envs.adapters.verl import as_compute_score\n"
        "compute_score = as_compute_score(length_reward, floor=0.0)\n"
    )
    custom = {"path": str(file), "name": "compute_score"}
    loaded = reward.get_custom_reward_fn(OmegaConf.create({"reward": {"custom_reward_function": custom}}))
    assert call(loaded, "The Rhine.", messages=MESSAGES)["score"] == 10.0
