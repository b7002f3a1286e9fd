"""How many tokens a reward model computes: what candidates share is computed once in each scoring."""

import pytest

from music.reward import RewardModel
from music.sandbox.artifacts import REWARD_MODEL
from music_envs import Beam, BestOfNConfig, Greedy, Whole, open_seeds, run_best_of_n


@pytest.fixture(scope="module")
def model():
    return RewardModel.from_pretrained(REWARD_MODEL, device="cpu")


@pytest.mark.parametrize("strategy", [Greedy(), Whole(), Beam(width=2)], ids=lambda s: type(s).__name__)
async def test_best_of_8_over_3_turns_stays_within_a_tenth_of_the_ideal(strategy, model, count_tokens, players):
    ideal = []

    def reward(conversations):
        prefixes = {
            tuple(e.ids[:end]) for e in model.tokens.encode_all(conversations) for end in range(1, len(e.ids) + 1)
        }
        ideal.append(len(prefixes))  # no token twice: one for each beginning that differs
        return model.score(conversations)

    config = BestOfNConfig(num_candidates=8, num_turns=3, seed=1)
    with count_tokens(model) as counts:
        await run_best_of_n(open_seeds("sandbox", 16), **players(), reward=reward, config=config, strategy=strategy)
    assert sum(ideal) <= sum(counts) <= 1.1 * sum(ideal)
