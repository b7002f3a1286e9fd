import pytest
from pydantic import ValidationError

from music.errors import InvalidInputError
from music.sandbox import oracle_score as oracle
from music_envs import Anytime, Greedy, run_best_of_n


async def test_without_a_reason_to_stop_it_is_greedy(seeds, config, players, shortest):
    for reward in (oracle, shortest):
        greedy = await run_best_of_n(seeds, **players(), reward=reward, config=config, strategy=Greedy())
        for round_size in (1, 2, 7):
            strategy = Anytime(margin=1e9, round_size=round_size)
            assert greedy == await run_best_of_n(seeds, **players(), reward=reward, config=config, strategy=strategy)


async def test_a_turn_stops_at_the_first_round_after_which_the_best_leads_by_the_margin(
    seeds, config, players, toy_reward
):
    config = config.model_copy(update={"num_candidates": 8})
    strategy = Anytime(margin=20.0, round_size=2)
    lengths = []

    def by_length(conversations):
        return [float(len(conversation.messages[-1].content)) for conversation in conversations]

    rollouts = await run_best_of_n(seeds, **players(), reward=by_length, config=config, strategy=strategy)
    for decision in (decision for rollout in rollouts for decision in rollout.decisions):
        leads = [lead(decision, num) >= 20.0 for num in range(2, len(decision.scores) + 1, 2)]
        assert not any(leads[:-1])
        assert leads[-1] or len(decision.scores) == 8
        assert decision.scores[decision.chosen] == max(decision.scores)
        lengths.append(len(decision.scores))
    assert min(lengths) < max(lengths) == 8


def lead(decision, num):
    """The best of the first replies less the best that differs."""
    scores = sorted(dict(zip(decision.candidates[:num], decision.scores, strict=False)).values())
    return scores[-1] - scores[-2] if len(scores) > 1 else 0.0


async def test_only_new_candidates_of_undecided_conversations_are_scored(seeds, config, players, shortest):
    scored = []

    def reward(conversations):
        scored.extend(conversations)
        return shortest(conversations)

    rollouts = await run_best_of_n(seeds, **players(), reward=reward, config=config, strategy=Anytime(margin=10.0))
    kept = [candidate for r in rollouts for decision in r.decisions for candidate in decision.candidates]
    assert len(scored) == len(kept) < len(seeds) * 9


async def test_tokens_are_shared_out_over_the_turns_and_bound_but_for_one_round(seeds, config, players, shortest):
    config = config.model_copy(update={"num_candidates": 50})
    strategy = Anytime(token_budget=3000)
    rollouts = await run_best_of_n(seeds, **players(), reward=shortest, config=config, strategy=strategy)
    for rollout in rollouts:
        assert 3000 <= rollout.usage.num_tokens < 3250
        counts = [len(decision.candidates) for decision in rollout.decisions]
        assert len(counts) == 3
        assert 2 < min(counts) <= max(counts) < 40


async def test_a_budget_that_is_spent_at_once_still_finishes_the_conversations(seeds, config, players, shortest):
    rollouts = await run_best_of_n(seeds, **players(), reward=shortest, config=config, strategy=Anytime(token_budget=1))
    assert all(len(decision.candidates) == 1 for rollout in rollouts for decision in rollout.decisions)
    assert all(len(rollout.decisions) == 3 for rollout in rollouts)


async def test_a_budget_needs_endpoints_that_count(scripted, seeds, config, players, shortest):
    silent = players(assistant=scripted(), user=scripted())
    with pytest.raises(InvalidInputError, match="endpoints that count tokens"):
        await run_best_of_n(seeds, **silent, reward=shortest, config=config, strategy=Anytime(token_budget=9))


async def test_candidates_that_fail_count_as_drawn(scripted, seeds, config, players, shortest):
    dead = players(assistant=scripted(fails=set(range(100))))
    (rollout,) = await run_best_of_n(seeds[:1], **dead, reward=shortest, config=config, strategy=Anytime(margin=1.0))
    assert len(dead["assistant"].requests) == 3
    assert rollout.error == "scripted is down"


@pytest.mark.parametrize("options", [{}, {"margin": 0.0}, {"token_budget": 0}, {"margin": 1.0, "round_size": 0}])
def test_what_never_stops_or_cannot_be_is_refused(options):
    with pytest.raises(ValidationError):
        Anytime(**options)
