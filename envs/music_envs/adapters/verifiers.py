"""verifiers: `UserSimulationEnv`, in which the world's user answers every reply and its reward scores every turn.

verifiers finds an environment by the name of a module, which exports a taskset, an env and a harness. Yours defines a
`ChatTaskset`, and exports the other two from here. Trainers such as prime-rl assign the credit of a group themselves;
`assign_turn_advantages` does it turn by turn.
"""

import ssl
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import openai
import verifiers.v1 as vf
from verifiers.v1.dialects.chat import message_to_wire

from music.conversation import Conversation, StopReason
from music.errors import InvalidInputError
from music.reward.tokens.queries import as_prompt
from music.seeding import derive_seed
from music_envs.chat.episode import Episode
from music_envs.chat.world import ChatWorld
from music_envs.credit import turn_advantages

__all__ = ["ChatHarness", "ChatTaskset", "UserSimulationConfig", "UserSimulationEnv", "assign_turn_advantages"]

TURN = "turn_"
TLS = ssl.create_default_context()
"""Made once, as this takes long and every reply has a client of its own."""


class ChatTaskset(vf.Taskset[vf.Task, vf.TasksetConfig]):  # type: ignore[misc]  # no types
    """Prompts to start from, and the world that answers. Set the class attributes in a class of your own.

    Attributes:
        world: The user and the reward, with the arguments of `ChatEnv`; you close it.
        prompts: Conversations that end with the user.
        seed: Seed of the users. Episodes of one task meet the same persona with the same seed.
    """

    world: ClassVar[ChatWorld]
    prompts: ClassVar[Sequence[Conversation]]
    seed: ClassVar[int] = 0

    def load(self) -> Iterator[vf.Task]:
        """Yield one task per prompt."""
        for prompt in self.prompts:
            yield vf.Task(vf.TaskData(prompt=prompt.to_messages()))


class ChatHarness(vf.Harness[vf.HarnessConfig]):  # type: ignore[misc]
    """Asks the policy for one reply, in this process. verifiers' own chat harness starts a program for each reply."""

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
        **_: Any,
    ) -> vf.ProgramResult:
        """Send the conversation; verifiers records the reply."""
        system, prompt = self.resolve_prompt(data)
        messages = [vf.SystemMessage(content=system)] if system else []
        wire = [message_to_wire(message) for message in (*messages, *prompt)]
        http = openai.DefaultAsyncHttpxClient(verify=TLS)
        async with openai.AsyncOpenAI(base_url=endpoint, api_key=secret, http_client=http) as client:
            try:
                await client.chat.completions.create(model=ctx.model, messages=wire)
            except openai.OpenAIError as error:  # verifiers knows the cause and records it
                return vf.ProgramResult(exit_code=1, stdout="", stderr=str(error))
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


class UserSimulationConfig(vf.EnvConfig):  # type: ignore[misc]
    """The config of `UserSimulationEnv`: the taskset, and the policy's seat `agent`."""

    agent: vf.AgentConfig = vf.AgentConfig(runtime=vf.SubprocessConfig())
    """The policy. Its `max_total_tokens` bounds the context."""


class UserSimulationEnv(vf.Env[UserSimulationConfig]):  # type: ignore[misc]
    """Conversations in which a user answers every reply, rewarded by the world of a `ChatTaskset`.

    The reward of reply k is `trace.rewards["turn_k"]`, and `trace.reward` is their sum. If the user fails, or a reply
    is blank or cannot be scored, the trace and the episode are not `ok`, as verifiers does for unusable rollouts: leave
    them out. If a token limit of the policy ends the conversation, its last reward counts.
    """

    def __init__(self, config: UserSimulationConfig) -> None:
        super().__init__(config)
        if not isinstance(self.taskset, ChatTaskset):
            raise InvalidInputError(f"expected a taskset that is a ChatTaskset, got {type(self.taskset).__name__}")

    async def run(self, task: vf.Task, agents: vf.Agents) -> None:
        """Play one episode.

        Raises:
            EnvError: The user failed, or a reply is blank or cannot be scored.
        """
        world: ChatWorld = self.taskset.world
        seed = derive_seed(self.taskset.seed, task.data.idx)
        before = after = world.take_up(as_prompt(task.data.prompt), seed)
        async with agents.agent.interaction(task) as policy:
            segment = await policy.turn()
            while not segment.terminated:
                before, (after, reward) = after, await world.step(after, segment.last_reply)
                _record(policy.trace, after, reward)
                if after.stop_reason:
                    return
                segment = await policy.turn(after.conversation.messages[-1].content)
            if after.turn and not policy.trace.errors:  # a limit ended it
                full = replace(after, stop_reason=StopReason.CONTEXT_FULL)
                _record(policy.trace, *await world.reward_one(before, full))


def _record(trace: vf.Trace, after: Episode, reward: float | None) -> None:
    """Store the episode's info and the reward of its last turn."""
    trace.info.update(after.info)
    if reward is None:
        raise vf.EnvError(after.error)
    trace.record_reward(f"{TURN}{after.turn}", reward)


def assign_turn_advantages(traces: Sequence[vf.Trace], *, discount: float) -> None:
    """Write the credit of each turn into its tokens, `node.advantages`; see `music_envs.credit`.

    Args:
        traces: Those of one task's group. Traces that are not `ok` get none.
        discount: Weight of the next turn's return; with 0 only a reply's own reward counts.
    """
    scored = [trace for trace in traces if trace.ok]
    rewards = [[each.value for name, each in trace.rewards.items() if name.startswith(TURN)] for trace in scored]
    if not scored:
        return
    for trace, by_turn in zip(scored, turn_advantages(rewards, len(scored), discount), strict=True):
        replies = (node for node in trace.nodes if node.sampled)
        for node, advantage in zip(replies, by_turn, strict=False):
            node.advantages = [float(advantage)] * sum(node.mask)
