"""Rollouts: a policy plays episodes of a `ChatVectorEnv`, and every token keeps whose it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from music.conversation import Conversation
from music_envs import ChatVectorEnv
from music_trainers.policy.tokens import ChatTokens

__all__ = ["USER", "Generate", "Trajectory", "play"]

USER = -1
"""In place of a turn: a token that the policy did not write."""
SILENCE = "..."
"""What is said where the policy ended its reply at once: environments refuse a blank one, and so would users."""

Generate = Callable[[Sequence[Sequence[int]]], list[list[int]]]
"""From prompts to replies, as token ids."""


@dataclass(slots=True)
class Trajectory:
    """One episode as tokens.

    Attributes:
        prompt_ids: What the policy read before its first reply.
        completion_ids: Everything from there on: its replies, and between them the user's messages.
        turns: For each of these tokens, the turn whose reply it belongs to, from 0, or `USER`.
        rewards: Of each turn; NaN for one that an error cut short, of which nothing is to be learned.
        conversation: The text.
        is_over: Whether the episode has ended.
    """

    prompt_ids: list[int]
    conversation: Conversation
    completion_ids: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    is_over: bool = False

    def say(self, reply: list[int], tokens: ChatTokens) -> str:
        """Take the policy's reply and return its text; one that was cut is ended, not by the policy."""
        self._write(reply, len(self.rewards))
        if reply[-1] not in tokens.end_ids:
            self._write([tokens.closing_id], USER)
        return tokens.text(reply) or SILENCE

    def hear(self, conversation: Conversation, reward: float, is_over: bool, tokens: ChatTokens) -> None:
        """Take what the environment made of the reply."""
        self.rewards.append(reward)
        self.is_over = is_over
        self.conversation = conversation
        if not is_over:
            self._write(tokens.between(conversation.messages[-1].content), USER)

    def _write(self, ids: list[int], turn: int) -> None:
        self.completion_ids += ids
        self.turns += [turn] * len(ids)


def play(env: ChatVectorEnv, tokens: ChatTokens, generate: Generate, seeds: Sequence[int]) -> list[Trajectory]:
    """Play one episode in each environment.

    Args:
        env: As many environments as seeds. Equal seeds meet equal users.
        tokens: The policy's chat template.
        generate: The policy.
        seeds: Of the episodes.

    Raises:
        EndpointError, RoleFailedError: A user gave no first message.
    """
    observations, _ = env.reset(seed=list(seeds))
    played = [Trajectory(tokens.opening(conversation), conversation) for conversation in observations]
    while running := [i for i, trajectory in enumerate(played) if not trajectory.is_over]:
        replies = generate([played[i].prompt_ids + played[i].completion_ids for i in running])
        actions = [SILENCE] * len(played)  # environments whose episode is over ignore it, or play on unheard
        for i, reply in zip(running, replies, strict=True):
            actions[i] = played[i].say(reply, tokens)
        observations, rewards, terminated, truncated, _ = env.step(actions)
        for i in running:
            reward = float("nan") if truncated[i] else float(rewards[i])
            played[i].hear(observations[i], reward, bool(terminated[i] or truncated[i]), tokens)
    return played
