from music.conversation import StopReason
from music.sandbox import oracle_score as oracle
from music_envs import BestOfNConfig, Whole, run_best_of_n, sample_pools, select_best


async def test_pools_hold_whole_conversations_for_any_selector_to_choose_from(seeds, config, players, shortest):
    pools = await sample_pools(seeds, **players(), config=config)

    assert [len(pool) for pool in pools] == [3] * len(seeds)
    for seed, pool in zip(seeds, pools, strict=True):
        assert {rollout.conversation.num_turns for rollout in pool} == {seed.num_turns + 3}
    for reward in (oracle, shortest):
        for pool, rollout in zip(pools, select_best(pools, reward), strict=True):
            scores = reward([candidate.conversation for candidate in pool])
            assert rollout.conversation == pool[scores.index(max(scores))].conversation
            assert list(rollout.decisions[0].scores) == scores


async def test_a_failed_conversation_is_not_chosen(scripted, seeds, players, shortest):
    config = BestOfNConfig(num_candidates=2, num_turns=1)
    pools = await sample_pools(seeds[:2], **players(assistant=scripted(fails={0, 1, 2})), config=config)
    first, second = select_best(pools, shortest)
    assert (first.stop_reason, first.decisions) == (StopReason.ERROR, ())
    assert (second.stop_reason, len(second.decisions[0].candidates)) == (StopReason.TURN_LIMIT, 1)


async def test_the_strategy_selects_from_these_pools_and_adds_up_what_they_used(seeds, config, players, shortest):
    pools = await sample_pools(seeds, **players(), config=config)
    rollouts = await run_best_of_n(seeds, **players(), reward=shortest, config=config, strategy=Whole())
    assert rollouts == select_best(pools, shortest)
    for pool, rollout in zip(pools, rollouts, strict=True):
        assert rollout.usage.num_tokens == sum(candidate.usage.num_tokens for candidate in pool)
