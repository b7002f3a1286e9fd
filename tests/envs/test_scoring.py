import gymnasium
import pytest

from music.reward import RewardModel
from music.sandbox import oracle_score as oracle
from music.sandbox.artifacts import REWARD_MODEL
from music_envs.scoring import load_growing_reward


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
