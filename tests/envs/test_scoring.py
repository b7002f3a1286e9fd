import gymnasium
import numpy as np
import pytest
import torch

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward import RewardModel
from music.sandbox import oracle_score as oracle
from music.sandbox.artifacts import REWARD_MODEL
from music_envs.scoring import checked_scores, load_growing_reward


class Model:
    """A reward model whose scores say whether it keeps what it has computed."""

    def __init__(self, scores):
        self.scores = scores

    def __call__(self, conversations):
        return [self.scores] * len(conversations)

    def with_prefix_cache(self):
        return Model(1.0)


def test_a_reward_model_keeps_what_it_has_computed_and_others_are_as_they_are():
    model = load_growing_reward(str(REWARD_MODEL))
    assert isinstance(model, RewardModel)
    assert "prefix cache of" in model.description
    assert load_growing_reward("oracle") is oracle


@pytest.mark.parametrize(
    ("mode", "rewards"), [("terminal", [0.0, 0.0]), ("per_turn", [1.0, 1.0]), ("difference", [1.0, 0.0])]
)
def test_environments_that_score_every_turn_open_such_a_reward(mode, rewards, monkeypatch):
    for module in ("music_envs.scoring", "music_envs.chat.world"):
        monkeypatch.setattr(f"{module}.load_reward", lambda spec: Model(0.0))
    env = gymnasium.make("music_envs:music/Chat-v0", num_turns=2, reward="rm", reward_mode=mode)
    env.reset(seed=0)
    assert [env.step("Gladly.")[1] for _ in rewards] == rewards
    env.close()


UNFIT = [
    (None, "got NoneType: None"),
    (0.5, "got float: 0.5"),
    (torch.tensor(0.5), "got Tensor: tensor"),
    (torch.ones(2, 2), "got Tensor: tensor"),
    ("12", "got str: '12'"),
    ({"a": 1.0, "b": 2.0}, "got dict"),
    ([0.5, None], r"got list: \[0.5, None\]"),
    ([0.5, "1"], "got list"),
    ([0.5], "expected 2 scores from the reward function, got 1"),
    ([0.5, float("nan")], "got nan at index 1"),
]


@pytest.mark.parametrize(("returned", "said"), UNFIT)
def test_what_is_no_list_of_scores_is_refused_and_shown(returned, said):
    conversations = [Conversation().user("Hi!").assistant("Hello.")] * 2
    with pytest.raises(InvalidInputError, match=said) as caught:
        checked_scores(lambda _: returned, conversations)
    assert "from the reward function" in str(caught.value)


@pytest.mark.parametrize(
    "returned", [[1, 2.0], (1.0, 2.0), np.array([1.0, 2.0]), torch.tensor([1.0, 2.0]), map(int, "12")]
)
def test_all_that_is_a_sequence_of_numbers_is_taken(returned):
    assert checked_scores(lambda _: returned, [Conversation()] * 2) == [1.0, 2.0]
