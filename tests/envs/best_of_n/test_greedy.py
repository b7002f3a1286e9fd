import threading

import pytest
from pydantic import ValidationError

from music.conversation import StopReason
from music.errors import InvalidInputError
from music.llm.chat import EndpointUnavailableError
from music.sandbox import oracle_score as oracle
from music.sandbox.model import SandboxModel
from music.seeding import derive_seed
from music_agents.roles import AssistantRole, RoleView, UserRole
from music_envs import BestOfNConfig, run_best_of_n


def texts(decision):
    return [candidate.messages[-1].content for candidate in decision.candidates]


async def one_by_one(seed, index, config, reward):
    """The paper's loop for one conversation, written out: one request and one score at a time."""
    user, assistant = UserRole(SandboxModel()), AssistantRole(SandboxModel("fair"))
    conversation = seed
    for turn in range(config.num_turns):
        place = {"side": "chosen", "turn": turn, "num_turns": config.num_turns, "pair": index}
        if conversation.next_role == "user":
            view = RoleView(conversation=conversation, part="user", run_seed=config.seed, **place)
            said = await user(view)
            conversation = conversation.user(said.text)
        best, best_score = None, float("-inf")
        for number in range(config.num_candidates):
            own_seed = derive_seed(config.seed, "candidate", number)
            view = RoleView(conversation=conversation, part="assistant", run_seed=own_seed, **place)
            candidate = await assistant(view)
            continued = conversation.assistant(candidate.text)
            if reward([continued])[0] > best_score:
                best, best_score = continued, reward([continued])[0]
        conversation = best
    return conversation


async def test_greedy_equals_the_plain_loop(seeds, config, players, shortest):
    for reward in (oracle, shortest):
        rollouts = await run_best_of_n(seeds, **players(), reward=reward, config=config)
        expected = [await one_by_one(seed, index, config, reward) for index, seed in enumerate(seeds)]
        assert [rollout.conversation for rollout in rollouts] == expected


async def test_every_rollout_keeps_its_candidates_scores_and_choices(seeds, config, players):
    rollouts = await run_best_of_n(seeds, **players(), reward=oracle, config=config)
    for index, (seed, rollout) in enumerate(zip(seeds, rollouts, strict=True)):
        assert (rollout.index, rollout.stop_reason, rollout.error) == (index, StopReason.TURN_LIMIT, "")
        assert rollout.conversation.num_turns == seed.num_turns + 3
        assert rollout.conversation.messages[: len(seed.messages)] == seed.messages
        for turn, decision in enumerate(rollout.decisions):
            assert len(decision.candidates) == len(decision.scores) == 3
            assert list(decision.scores) == oracle(decision.candidates)
            assert decision.chosen == decision.scores.index(max(decision.scores))
            kept = rollout.conversation.prefix(rollout.conversation.turn_ends[seed.num_turns + turn])
            assert decision.conversation == kept


async def test_scoring_is_one_call_per_turn_for_all_conversations_off_the_event_loop(seeds, config, players, shortest):
    sizes, threads = [], set()

    def reward(conversations):
        sizes.append(len(conversations))
        threads.add(threading.current_thread())
        return shortest(conversations)

    await run_best_of_n(seeds, **players(), reward=reward, config=config)
    assert sizes == [len(seeds) * 3] * 3
    assert threading.main_thread() not in threads


async def test_arms_are_offered_the_same_candidates_until_their_histories_part(seeds, config, players, shortest):
    first = await run_best_of_n(seeds, **players(), reward=oracle, config=config)
    second = await run_best_of_n(seeds, **players(), reward=shortest, config=config)
    compared = parted = 0
    for mine, other in zip(first, second, strict=True):
        for a, b in zip(mine.decisions, other.decisions, strict=True):
            assert a.candidates == b.candidates
            compared += 1
            if a.conversation != b.conversation:
                parted += 1
                break
    assert compared > parted > 0


async def test_a_smaller_n_is_offered_the_first_of_the_candidates_of_a_larger(seeds, config, players):
    few = await run_best_of_n(seeds, **players(), reward=oracle, config=config)
    many = await run_best_of_n(
        seeds, **players(), reward=oracle, config=config.model_copy(update={"num_candidates": 5})
    )
    for a, b in zip(few, many, strict=True):
        assert a.decisions[0].candidates == b.decisions[0].candidates[:3]
        assert max(b.decisions[0].scores) >= max(a.decisions[0].scores)


async def test_candidates_differ_and_so_do_runs_with_another_seed(seeds, config, players):
    first = await run_best_of_n(seeds, **players(), reward=oracle, config=config)
    again = await run_best_of_n(seeds, **players(), reward=oracle, config=config)
    other = await run_best_of_n(seeds, **players(), reward=oracle, config=config.model_copy(update={"seed": 12}))
    assert first == again != other
    assert any(len(set(texts(decision))) > 1 for rollout in first for decision in rollout.decisions)


async def test_selecting_by_the_judge_beats_selecting_against_it(seeds, config, players):
    def worst(conversations):
        return [-score for score in oracle(conversations)]

    best = await run_best_of_n(seeds, **players(), reward=oracle, config=config)
    poor = await run_best_of_n(seeds, **players(), reward=worst, config=config)
    assert sum(oracle([r.conversation for r in best])) > sum(oracle([r.conversation for r in poor]))


async def test_a_conversation_whose_user_fails_ends_alone(scripted, seeds, config, players):
    rollouts = await run_best_of_n(
        seeds[:3], **players(user=scripted(fails={1})), reward=oracle, config=config
    )  # the user's first messages are asked for in turn 2, in the order of the seeds
    assert [rollout.stop_reason for rollout in rollouts] == [
        StopReason.TURN_LIMIT,
        StopReason.ERROR,
        StopReason.TURN_LIMIT,
    ]
    failed = rollouts[1]
    assert failed.error == "scripted is down"
    assert len(failed.decisions) == 1
    assert failed.conversation == failed.decisions[0].conversation


async def test_a_failed_candidate_is_left_out_and_without_any_the_conversation_ends(
    scripted, seeds, config, players, shortest
):
    one_turn = BestOfNConfig(num_candidates=3, num_turns=1)
    some = await run_best_of_n(seeds[:1], **players(assistant=scripted(fails={1})), reward=shortest, config=one_turn)
    assert len(some[0].decisions[0].candidates) == 2
    assert some[0].stop_reason is StopReason.TURN_LIMIT
    none = await run_best_of_n(
        seeds[:1], **players(assistant=scripted(fails={0, 1, 2})), reward=shortest, config=one_turn
    )
    assert (none[0].stop_reason, none[0].decisions, none[0].conversation) == (StopReason.ERROR, (), seeds[0])


@pytest.mark.parametrize("scores", [[float("nan")] * 24, [0.0]])
async def test_useless_scores_are_an_error(scores, seeds, config, players):
    with pytest.raises(InvalidInputError, match="reward function"):
        await run_best_of_n(seeds, **players(), reward=lambda conversations: scores, config=config)


async def test_requests_in_flight_are_bounded(scripted, seeds, config, players):
    class Counting:
        def __init__(self):
            self.role, self.now, self.most = AssistantRole(scripted()), 0, 0

        async def __call__(self, seen):
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                return await self.role(seen)
            finally:
                self.now -= 1

    assistant = Counting()
    await run_best_of_n(
        seeds, **players(assistant=assistant), reward=oracle, config=config.model_copy(update={"max_in_flight": 2})
    )
    assert assistant.most <= 2


@pytest.mark.parametrize("sizes", [{"num_candidates": 0}, {"num_turns": 0}, {"n": 4}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValidationError):
        BestOfNConfig(**sizes)


async def test_what_a_conversation_used_counts_every_call(seeds, config, players, shortest):
    rollouts = await run_best_of_n(seeds, **players(), reward=shortest, config=config)
    for seed, rollout in zip(seeds, rollouts, strict=True):
        num_user = 3 if seed.next_role == "user" else 2
        assert rollout.usage.num_calls == 3 * 3 + num_user
        own = sum(len(c.messages[-1].content.split(" ")) for d in rollout.decisions for c in d.candidates)
        assert rollout.usage.completion_tokens > own


async def test_a_reward_that_fails_ends_the_run_with_its_error(every_strategy, seeds, config, players, shortest):
    """Not even an endpoint's error is taken for one of the players': without scores there is no choice."""
    num_calls = []

    def dies(conversations):
        num_calls.append(len(conversations))
        if len(num_calls) == every_strategy.num_scorings:
            raise EndpointUnavailableError("the reward server is down")
        return shortest(conversations)

    with pytest.raises(EndpointUnavailableError, match="the reward server is down"):
        await run_best_of_n(seeds, **players(), reward=dies, config=config, strategy=every_strategy.strategy)


async def test_failures_spare_other_conversations_whatever_the_strategy(
    every_strategy, scripted, seeds, config, players, shortest
):
    """The assistant gives nothing to the third conversation, and no reply to anyone else's fails."""

    class Deaf:
        def __init__(self):
            self.role = AssistantRole(scripted())

        async def __call__(self, seen):
            if seen.pair == 2 and seen.turn == 1:
                raise EndpointUnavailableError("down")
            return await self.role(seen)

    rollouts = await run_best_of_n(
        seeds, **players(assistant=Deaf()), reward=shortest, config=config, strategy=every_strategy.strategy
    )
    assert [rollout.index for rollout in rollouts if rollout.is_failed] == [2]
    assert rollouts[2].error == "down"
    assert all(
        rollout.conversation.num_turns == seed.num_turns + 3
        for seed, rollout in zip(seeds, rollouts, strict=True)
        if rollout.index != 2
    )


async def test_no_strategy_speaks_more_often_than_it_says(every_strategy, seeds, config, players, shortest):
    spoken = []
    strategy = every_strategy.strategy
    await run_best_of_n(
        seeds, **players(), reward=shortest, config=config, strategy=strategy, on_call=lambda: spoken.append(1)
    )
    assert len(spoken) <= strategy.max_calls(config) * len(seeds)
