import asyncio

import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from music.errors import InvalidInputError
from music.pairs import Usage
from music_agents.roles import RoleTurn
from music_envs import AsyncChatEnv, ChatEnv


async def play_awaited(env, **reset):
    steps = [await env.reset(**reset)]
    while len(steps) == 1 or not (steps[-1][2] or steps[-1][3]):
        steps.append(await env.step(f"Reply number {len(steps)}."))
    return steps


@pytest.mark.parametrize("reward_mode", ["terminal", "per_turn", "difference"])
async def test_it_is_step_for_step_what_the_synchronous_one_is(play, seeds, reward_mode):
    arguments = {"seeds": seeds, "reward_mode": reward_mode}
    twin, env = AsyncChatEnv(**arguments), ChatEnv(**arguments)
    assert await play_awaited(twin, seed=6) == play(env, seed=6)
    assert await play_awaited(twin) == play(env)
    options = {"seed_index": 1}
    assert await play_awaited(twin, options=options) == play(env, options=options)


async def test_many_go_on_at_once():
    barrier = asyncio.Barrier(5)

    async def user(view):
        await asyncio.wait_for(barrier.wait(), 30)  # passes once all have come
        return RoleTurn(text=f"{view.run_seed}, please.", usage=Usage())

    envs = [AsyncChatEnv(user=user, num_turns=2) for _ in range(5)]
    episodes = await asyncio.gather(*(play_awaited(env, seed=seed) for seed, env in enumerate(envs)))
    assert len({str(episode[-1][0]) for episode in episodes}) == 5


async def test_snapshots_go_back_and_over_to_the_synchronous_one_and_from_it(play, seeds):
    twin, env = AsyncChatEnv(seeds=seeds), ChatEnv(seeds=seeds)
    first = await play_awaited(twin, seed=2)
    await twin.reset(seed=2)
    await twin.step("Reply number 1.")
    kept = twin.snapshot()
    await twin.step("Something else.")
    assert twin.restore(kept) == env.restore(kept) == (first[1][0], first[1][-1])
    assert env.snapshot() == twin.snapshot() == kept
    assert [await twin.step(f"Reply number {n}.") for n in (2, 3)] == first[2:]
    assert [env.step(f"Reply number {n}.") for n in (2, 3)] == first[2:]
    assert await play_awaited(twin) == play(env)


async def test_a_step_that_is_cancelled_leaves_the_episode_where_it_stood(seeds):
    asked, hold = asyncio.Event(), asyncio.Event()

    async def user(view):
        asked.set()
        await hold.wait()
        return RoleTurn(text="And then?", usage=Usage())

    env = AsyncChatEnv(user=user, seeds=seeds[1:2])
    before, _ = await env.reset(seed=0)
    step = asyncio.create_task(env.step("Slowly."))
    await asked.wait()
    step.cancel()
    with pytest.raises(asyncio.CancelledError):
        await step
    hold.set()
    assert (await env.step("Again."))[0] == before.assistant("Again.").user("And then?")


async def test_what_the_synchronous_one_refuses_it_refuses():
    env = AsyncChatEnv(num_turns=1)
    for early in (env.step("Hi."), asyncio.to_thread(env.restore, env.snapshot())):
        with pytest.raises(ResetNeeded):
            await early
    await env.reset(seed=0)
    with pytest.raises(InvalidInputError, match="blank"):
        await env.step(" ")
    await env.step("Hi.")
    with pytest.raises(ResetNeeded):
        await env.step("Hi.")


async def test_closing_twice_is_fine_and_leaves_a_lent_model_alone(scripted):
    model = scripted()
    for env in (AsyncChatEnv(user=model), AsyncChatEnv()):
        await env.aclose()
        await env.aclose()
        with pytest.raises(ClosedEnvironmentError):
            await env.reset(seed=0)
    assert model.num_closed == 0
