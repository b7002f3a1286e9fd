from music.conversation import StopReason
from music.llm.chat import EndpointUnavailableError
from music.pairs import Usage
from music.sandbox import oracle_score as oracle
from music_agents.roles import RoleTurn
from music_agents.roles.model_roles import UserRole
from music_envs import Beam, Greedy, run_best_of_n


async def test_a_beam_of_one_is_greedy(seeds, config, players, shortest):
    for reward in (oracle, shortest):
        beam = await run_best_of_n(seeds, **players(), reward=reward, config=config, strategy=Beam(width=1))
        assert beam == await run_best_of_n(seeds, **players(), reward=reward, config=config, strategy=Greedy())


async def test_a_wide_beam_finds_the_best_of_the_whole_tree(seeds, config, players, shortest, sampler):
    """Every leaf of a tree of 2 replies at each of 3 turns, grown by hand."""
    config = config.model_copy(update={"num_candidates": 2})
    rollouts = await run_best_of_n(seeds, **players(), reward=shortest, config=config, strategy=Beam(width=8))
    for root, rollout in zip(sampler(config).begin(seeds), rollouts, strict=True):
        leaves = [root]
        for turn in range(3):
            leaves = [child for leaf in leaves for child in await sampler(config).sample_all(leaf, turn)]
        assert len(leaves) == 8
        best = max(shortest([leaf.conversation for leaf in leaves]))
        assert shortest([rollout.conversation]) == [best]


async def test_all_candidates_of_all_seeds_are_scored_in_one_call_per_turn(seeds, config, players, shortest):
    sizes = []

    def reward(conversations):
        sizes.append(len(conversations))
        return shortest(conversations)

    await run_best_of_n(seeds, **players(), reward=reward, config=config, strategy=Beam(width=2))
    assert sizes[0] == len(seeds) * 3
    assert all(len(seeds) * 3 < size <= len(seeds) * 6 for size in sizes[1:])


async def test_the_decisions_lead_to_the_conversation(seeds, config, players):
    rollouts = await run_best_of_n(seeds, **players(), reward=oracle, config=config, strategy=Beam(width=3))
    for seed, rollout in zip(seeds, rollouts, strict=True):
        for turn, decision in enumerate(rollout.decisions):
            end = rollout.conversation.turn_ends[seed.num_turns + turn]
            assert decision.conversation == rollout.conversation.prefix(end)
        last = rollout.decisions[-1]
        assert last.scores[last.chosen] == max(last.scores)


async def test_equal_branches_are_gone_on_with_once(seeds, config, players, shortest):
    async def parrot(seen):
        return RoleTurn(text="Green.", usage=Usage(1))

    rollouts = await run_best_of_n(
        seeds, **players(assistant=parrot), reward=shortest, config=config, strategy=Beam(width=3)
    )
    assert {len(decision.candidates) for rollout in rollouts for decision in rollout.decisions} == {3}


async def test_a_branch_whose_user_fails_leaves_the_others_of_its_seed(seeds, config, players, shortest):
    class Shy:
        """The user fails once, after one branch of the first conversation."""

        def __init__(self):
            self.role, self.num_failed = UserRole(players()["user"]), 0

        async def __call__(self, seen):
            if seen.pair == 0 and seen.turn == 1 and not self.num_failed:
                self.num_failed += 1
                raise EndpointUnavailableError("down")
            return await self.role(seen)

    user = Shy()
    (rollout,) = await run_best_of_n(
        seeds[:1], **players(user=user), reward=shortest, config=config, strategy=Beam(width=2)
    )
    assert user.num_failed == 1
    assert rollout.stop_reason is StopReason.TURN_LIMIT
    assert [len(decision.candidates) for decision in rollout.decisions] == [3, 3, 6]


async def test_what_all_branches_used_is_counted_once(seeds, config, players, shortest):
    spoken = []
    rollouts = await run_best_of_n(
        seeds,
        **players(),
        reward=shortest,
        config=config,
        strategy=Beam(width=2),
        on_call=lambda: spoken.append(1),
    )
    assert sum(rollout.usage.num_calls for rollout in rollouts) == len(spoken)
