"""How many tokens a reward model computes over whole runs: with a prefix cache, none twice."""

import pytest

from music.reward import RewardModel
from music.sandbox.artifacts import REWARD_MODEL
from music_envs import Anytime, Beam, BestOfNConfig, Greedy, Whole, load_prompts, run_best_of_n


@pytest.fixture(scope="module")
def model():
    return RewardModel.from_pretrained(REWARD_MODEL, device="cpu")


@pytest.fixture
def beginnings(model):
    """Return what gives the beginnings that differ of conversations, for each of which a token must be computed."""

    def find(conversations):
        ids = [tuple(encoding.ids) for encoding in model.tokens.encode_all(conversations)]
        return {each[:end] for each in ids for end in range(1, len(each) + 1)}

    return find


async def best_of_8(players, reward, strategy):
    config = BestOfNConfig(num_candidates=8, num_turns=3, seed=1)
    return await run_best_of_n(
        load_prompts("sandbox", 16), **players(), reward=reward, config=config, strategy=strategy
    )


@pytest.mark.parametrize(
    "strategy", [Greedy(), Anytime(margin=3.0), Beam(width=2), Whole()], ids=lambda s: type(s).__name__
)
async def test_a_run_over_3_turns_stays_within_a_tenth_of_the_ideal(strategy, model, beginnings, count_tokens, players):
    ideal, cached = set(), model.with_prefix_cache()

    def reward(conversations):
        ideal.update(beginnings(conversations))
        return cached.score(conversations)

    with count_tokens(model) as counts:
        rollouts = await best_of_8(players, reward, strategy)
    assert len(ideal) <= sum(counts) <= 1.1 * len(ideal)
    for decision in (decision for rollout in rollouts for decision in rollout.decisions):
        assert decision.scores == pytest.approx(model.score(decision.candidates), abs=1e-5)


async def test_without_a_cache_each_scoring_stays_within_a_tenth_of_the_ideal(model, beginnings, count_tokens, players):
    ideal = []

    def reward(conversations):
        ideal.append(len(beginnings(conversations)))
        return model.score(conversations)

    with count_tokens(model) as counts:
        await best_of_8(players, reward, Greedy())
    assert sum(ideal) <= sum(counts) <= 1.1 * sum(ideal)
