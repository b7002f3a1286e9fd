"""Plays episodes with verifiers and prints them as JSON: a process of its own, as verifiers needs another mcp."""

import asyncio
import itertools
import json
import sys
from types import ModuleType

import verifiers.v1 as vf
from aiohttp import web

from music.conversation import Conversation
from music.llm.chat import EndpointUnavailableError
from music.pairs import Usage
from music.reward.tokens.contract import UnscorableError
from music.sandbox.server import ServerConfig, sandbox_server
from music_agents.roles import RoleTurn
from music_envs.adapters.verifiers import ChatHarness, ChatTaskset, UserSimulationEnv, assign_turn_advantages
from music_envs.chat.world import ChatWorld

PROMPTS = [
    Conversation.from_messages([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A river?"}]),
    Conversation().user("A tea?"),
]
NUMBERS = itertools.count()


class Length:
    """Counts the characters of the replies, keeps what it is given, and cannot score rivers if they are too long."""

    def __init__(self, unscorable=None, broken=False):
        self.unscorable, self.broken, self.seen = unscorable, broken, []

    def __call__(self, conversations):
        if self.broken:
            raise ConnectionError("the reward server is gone")
        self.seen += [conversation.to_messages() for conversation in conversations]
        if self.unscorable and any(self.unscorable in m.content for c in conversations for m in c.messages):
            raise UnscorableError("over_long")
        return [float(sum(len(m.content) for m in c.messages if m.role == "assistant")) for c in conversations]


async def user(view):
    return RoleTurn(text=f"Why {view.turn}?", usage=Usage())


async def user_of_teas(view):
    if "river" in view.conversation.messages[-2].content:
        raise EndpointUnavailableError("user is down")
    return await user(view)


async def play(url, reward, per_task=1, agent=None, **world):
    """Play episodes of both prompts; return them as verifiers has them, and what the reward saw."""

    class Tasks(ChatTaskset):
        prompts = PROMPTS

    Tasks.world = ChatWorld(reward=reward, **{"num_turns": 2, "user": user, "reward_mode": "difference"} | world)
    name = f"chat_{next(NUMBERS)}"
    module = sys.modules[name] = ModuleType(name)
    exported = {"Tasks": Tasks, "UserSimulationEnv": UserSimulationEnv, "ChatHarness": ChatHarness}
    vars(module).update(exported, __all__=[*exported])
    environment = vf.load_environment(vf.resolve_env_config({"taskset": {"id": name}, "agent": agent or {}}))
    context = vf.ModelContext(
        client=vf.EvalClientConfig(base_url=url, api_key_var="UNSET"), model="fair", sampling=vf.SamplingConfig()
    )
    async with environment.serving():
        slots = [slot for task in environment.taskset for slot in environment.slots(task, per_task)]
        return await asyncio.gather(*(environment.run_slot(slot, context) for slot in slots))


def told(reward, episodes):
    """Return what the tests ask about."""
    traces = [trace for episode in episodes for trace in episode.traces]
    return {
        "seen": reward.seen,
        "ok": [episode.ok for episode in episodes],
        "errors": [[error.message for error in episode.errors] for episode in episodes],
        "messages": [[{"role": m.role, "content": m.content} for m in trace.messages] for trace in traces],
        "rewards": [{name: each.value for name, each in trace.rewards.items()} for trace in traces],
        "reward": [trace.reward for trace in traces],
        "info": [trace.info for trace in traces],
    }


async def credited(url):
    """Play a group, give its replies tokens as a training client does, and assign the credit."""
    reward = Length()
    episodes = await play(url, reward, per_task=2)
    traces = [episode.traces[0] for episode in episodes[:2]] + [vf.Trace.model_construct(ok=False, nodes=[])]
    for trace, turns in zip(traces, [(1.0, 4.0), (3.0, 0.0)], strict=False):
        for turn, value in enumerate(turns, 1):
            trace.record_reward(f"turn_{turn}", value)
        for node in trace.nodes:
            node.token_ids, node.mask = [7, 8, 9], [False, node.sampled, node.sampled]
    assign_turn_advantages(traces, discount=1.0)
    return [trace.branches[0].advantages for trace in traces[:2]]


async def blank(_):
    message = {"role": "assistant", "content": " \n"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return web.json_response({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


async def mute():
    """Play with a policy whose replies are blank."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", blank)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reward = Length()
    episodes = await play(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", reward)
    await runner.cleanup()
    return told(reward, episodes)


async def main(url):
    scenes = {
        "played": {"per_task": 2},
        "user_fails": {"user": user_of_teas},
        "full": {"num_turns": 9, "reward_mode": "terminal", "agent": {"max_total_tokens": 60}},
    }
    rewards = {"unscorable": Length(unscorable="river"), "broken": Length(broken=True)}
    results = {"mute": await mute(), "credit": await credited(url)}
    for scene in [*scenes, *rewards]:
        reward = rewards.get(scene, Length())
        results[scene] = told(reward, await play(url, reward, **scenes.get(scene, {})))
    print(json.dumps(results))


if __name__ == "__main__":
    with sandbox_server(ServerConfig()) as url:
        asyncio.run(main(url))
