import threading

import pytest
from pydantic import ValidationError

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.sandbox.model import SandboxModel
from music.sandbox.oracle import score as oracle
from music.sandbox.seeds import seed_pairs
from music_agents.roles import derive_seed
from music_agents.roles.assistant import AssistantRole
from music_agents.roles.user import UserRole
from music_envs import BestOfNConfig, greedy_best_of_n, sample_pools, select_best
from music_envs.players import view

SEEDS = [pair.chosen.prefix(len(pair.chosen.messages) - 1) for pair in seed_pairs(6, 3)] + [
    Conversation(),
    Conversation().user("Which tea?").assistant("Green."),
]
CONFIG = BestOfNConfig(num_candidates=3, num_turns=3, seed=11)


def players(**models):
    return {"assistant": SandboxModel("fair"), "user": SandboxModel()} | models


def shortest(conversations):
    return [-float(sum(len(m.content) for m in c.messages)) for c in conversations]


def texts(decision):
    return [candidate.messages[-1].content for candidate in decision.candidates]


async def one_by_one(seed, index, config, reward):
    """The paper's loop for one conversation, written out: one request and one score at a time."""
    user, assistant = UserRole(SandboxModel()), AssistantRole(SandboxModel("fair"))
    conversation = seed
    for turn in range(config.num_turns):
        place = {"turn": turn, "num_turns": config.num_turns, "index": index}
        if conversation.next_role == "user":
            said = await user(view(conversation, "user", seed=config.seed, **place))
            conversation = conversation.user(said.text)
        best, best_score = None, float("-inf")
        for number in range(config.num_candidates):
            own_seed = derive_seed(config.seed, "candidate", number)
            candidate = await assistant(view(conversation, "assistant", seed=own_seed, **place))
            continued = conversation.assistant(candidate.text)
            if reward([continued])[0] > best_score:
                best, best_score = continued, reward([continued])[0]
        conversation = best
    return conversation


@pytest.mark.parametrize("reward", [oracle, shortest])
async def test_greedy_equals_the_plain_loop(reward):
    rollouts = await greedy_best_of_n(SEEDS, **players(), reward=reward, config=CONFIG)

    expected = [await one_by_one(seed, index, CONFIG, reward) for index, seed in enumerate(SEEDS)]
    assert [rollout.conversation for rollout in rollouts] == expected


async def test_every_rollout_keeps_its_candidates_scores_and_choices():
    rollouts = await greedy_best_of_n(SEEDS, **players(), reward=oracle, config=CONFIG)
    for index, (seed, rollout) in enumerate(zip(SEEDS, rollouts, strict=True)):
        assert (rollout.index, rollout.stop_reason, rollout.error) == (index, StopReason.TURN_LIMIT, "")
        assert rollout.conversation.num_turns == seed.num_turns + 3
        assert rollout.conversation.messages[: len(seed.messages)] == seed.messages
        for turn, decision in enumerate(rollout.decisions):
            assert len(decision.candidates) == len(decision.scores) == 3
            assert list(decision.scores) == oracle(decision.candidates)
            assert decision.chosen == decision.scores.index(max(decision.scores))
            kept = rollout.conversation.prefix(rollout.conversation.turn_ends[seed.num_turns + turn])
            assert decision.conversation == kept


async def test_scoring_is_one_call_per_turn_for_all_conversations_off_the_event_loop():
    sizes, threads = [], set()

    def reward(conversations):
        sizes.append(len(conversations))
        threads.add(threading.current_thread())
        return shortest(conversations)

    await greedy_best_of_n(SEEDS, **players(), reward=reward, config=CONFIG)
    assert sizes == [len(SEEDS) * 3] * 3
    assert threading.main_thread() not in threads


async def test_arms_are_offered_the_same_candidates_until_their_histories_part():
    first = await greedy_best_of_n(SEEDS, **players(), reward=oracle, config=CONFIG)
    second = await greedy_best_of_n(SEEDS, **players(), reward=shortest, config=CONFIG)
    compared = parted = 0
    for mine, other in zip(first, second, strict=True):
        for a, b in zip(mine.decisions, other.decisions, strict=True):
            assert a.candidates == b.candidates
            compared += 1
            if a.conversation != b.conversation:
                parted += 1
                break
    assert compared > parted > 0


async def test_a_smaller_n_is_offered_the_first_of_the_candidates_of_a_larger():
    few = await greedy_best_of_n(SEEDS, **players(), reward=oracle, config=CONFIG)
    many = await greedy_best_of_n(
        SEEDS, **players(), reward=oracle, config=CONFIG.model_copy(update={"num_candidates": 5})
    )
    for a, b in zip(few, many, strict=True):
        assert a.decisions[0].candidates == b.decisions[0].candidates[:3]
        assert max(b.decisions[0].scores) >= max(a.decisions[0].scores)


async def test_candidates_differ_and_so_do_runs_with_another_seed():
    first = await greedy_best_of_n(SEEDS, **players(), reward=oracle, config=CONFIG)
    again = await greedy_best_of_n(SEEDS, **players(), reward=oracle, config=CONFIG)
    other = await greedy_best_of_n(SEEDS, **players(), reward=oracle, config=CONFIG.model_copy(update={"seed": 12}))
    assert first == again != other
    assert any(len(set(texts(decision))) > 1 for rollout in first for decision in rollout.decisions)


async def test_selecting_by_the_judge_beats_selecting_against_it():
    def worst(conversations):
        return [-score for score in oracle(conversations)]

    best = await greedy_best_of_n(SEEDS, **players(), reward=oracle, config=CONFIG)
    poor = await greedy_best_of_n(SEEDS, **players(), reward=worst, config=CONFIG)
    assert sum(oracle([r.conversation for r in best])) > sum(oracle([r.conversation for r in poor]))


async def test_a_conversation_whose_user_fails_ends_alone(scripted):
    rollouts = await greedy_best_of_n(
        SEEDS[:3], **players(user=scripted(fails={1})), reward=oracle, config=CONFIG
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


async def test_a_failed_candidate_is_left_out_and_without_any_the_conversation_ends(scripted):
    one_turn = BestOfNConfig(num_candidates=3, num_turns=1)
    some = await greedy_best_of_n(SEEDS[:1], **players(assistant=scripted(fails={1})), reward=shortest, config=one_turn)
    assert len(some[0].decisions[0].candidates) == 2
    assert some[0].stop_reason is StopReason.TURN_LIMIT
    none = await greedy_best_of_n(
        SEEDS[:1], **players(assistant=scripted(fails={0, 1, 2})), reward=shortest, config=one_turn
    )
    assert (none[0].stop_reason, none[0].decisions, none[0].conversation) == (StopReason.ERROR, (), SEEDS[0])


@pytest.mark.parametrize("scores", [[float("nan")] * 24, [0.0]])
async def test_useless_scores_are_an_error(scores):
    with pytest.raises(InvalidInputError, match="reward function"):
        await greedy_best_of_n(SEEDS, **players(), reward=lambda conversations: scores, config=CONFIG)


async def test_requests_in_flight_are_bounded(scripted):
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
    config = CONFIG.model_copy(update={"max_in_flight": 2})
    await greedy_best_of_n(SEEDS, **players(assistant=assistant), reward=oracle, config=config)
    assert assistant.most <= 2


async def test_pools_hold_whole_conversations_for_any_selector_to_choose_from():
    pools = await sample_pools(SEEDS, **players(), config=CONFIG)

    assert [len(pool) for pool in pools] == [3] * len(SEEDS)
    for seed, pool in zip(SEEDS, pools, strict=True):
        assert {rollout.conversation.num_turns for rollout in pool} == {seed.num_turns + 3}
    for reward in (oracle, shortest):
        for pool, rollout in zip(pools, select_best(pools, reward), strict=True):
            scores = reward([candidate.conversation for candidate in pool])
            assert rollout.conversation == pool[scores.index(max(scores))].conversation
            assert list(rollout.decisions[0].scores) == scores


async def test_a_failed_conversation_is_not_chosen(scripted):
    config = BestOfNConfig(num_candidates=2, num_turns=1)
    pools = await sample_pools(SEEDS[:2], **players(assistant=scripted(fails={0, 1, 2})), config=config)
    first, second = select_best(pools, shortest)
    assert (first.stop_reason, first.decisions) == (StopReason.ERROR, ())
    assert (second.stop_reason, len(second.decisions[0].candidates)) == (StopReason.TURN_LIMIT, 1)


@pytest.mark.parametrize("sizes", [{"num_candidates": 0}, {"num_turns": 0}, {"n": 4}])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValidationError):
        BestOfNConfig(**sizes)
