import pytest
import verifiers as vf
from openai import AsyncOpenAI

from music.conversation import Conversation
from music.reward.tokens.contract import UnscorableError
from music.sandbox.server import ServerConfig, sandbox_server
from music_envs.adapters.verifiers import UserSimulationEnv
from music_envs.chat.world import ChatWorld

PROMPTS = [Conversation().user("Name a river."), Conversation().user("Name a tea.")]


@pytest.fixture
async def client():
    with sandbox_server(ServerConfig()) as url:
        async with AsyncOpenAI(base_url=url, api_key="none") as client:
            yield vf.OpenAIChatCompletionsClient(client)


class Watched(UserSimulationEnv):
    """Keeps the states, of which `evaluate` returns what fits into JSON."""

    async def setup_state(self, state):
        self.__dict__.setdefault("states", []).append(state)
        return await super().setup_state(state)


async def roll(world, client, prompts=PROMPTS, **options):
    environment = Watched(world, prompts)
    done = await environment.evaluate(client, "fair", num_examples=len(prompts), rollouts_per_example=2, **options)
    return done["outputs"], sorted(environment.states, key=lambda state: state["example_id"])


@pytest.mark.parametrize("independent", [False, True])
async def test_rollouts_are_conversations_with_our_user_and_paid_by_our_reward(client, reward_length, independent):
    world = ChatWorld(num_turns=3, reward=reward_length, reward_mode="difference")
    outputs, states = await roll(world, client, independent_scoring=independent)
    assert len(outputs) == len(states) == 4
    assert sorted(output["reward"] for output in outputs) == sorted(state["reward"] for state in states)
    for rollout in states:
        messages = [*rollout["prompt"], *rollout["completion"]]
        conversation = Conversation.from_messages([{"role": m.role, "content": m.content} for m in messages])
        assert conversation == rollout["episodes"][-1].conversation
        assert conversation.num_turns == 3
        assert rollout["reward"] == reward_length([conversation])[0]
        assert [step["reward"] for step in rollout["trajectory"]] == [
            len(message.content) for message in conversation.messages if message.role == "assistant"
        ]


async def test_a_failing_user_is_an_error_of_the_rollout_and_leaves_the_others_be(client, scripted, reward_length):
    world = ChatWorld(num_turns=2, reward=reward_length, user=scripted("user", fails={0}))
    rollouts, _ = await roll(world, client)
    failed = [rollout for rollout in rollouts if rollout.get("error")]
    assert len(failed) == 1
    assert "the user failed: user is down" in str(failed[0]["error"])
    assert all(rollout["reward"] > 0 for rollout in rollouts if rollout not in failed)


async def test_what_cannot_be_scored_is_an_error_of_the_rollout(client):
    def picky(conversations):
        if any("river" in c.messages[0].content for c in conversations):
            raise UnscorableError("over_long")
        return [1.0] * len(conversations)

    _, rollouts = await roll(ChatWorld(num_turns=1, reward=picky), client)
    assert [(r["error"] is not None, r["reward"]) for r in rollouts] == [(True, 0.0)] * 2 + [(False, 1.0)] * 2


async def test_a_broken_reward_ends_the_run_and_is_no_score_of_0(client):
    def broken(conversations):
        raise ConnectionError("the reward server is gone")

    with pytest.raises(ConnectionError, match="reward server is gone"):
        await roll(ChatWorld(num_turns=1, reward=broken), client, PROMPTS[:1])
