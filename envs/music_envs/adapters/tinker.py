"""Tinker: `ChatEnv` and `ChatGroupBuilder` for tinker-cookbook's RL loop, `turn_level_data` for credit for each turn.

`as_labeled_comparison` makes a preference pair one of tinker-cookbook's comparisons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import tinker
import torch
from tinker_cookbook.completers import StopCondition
from tinker_cookbook.preference.types import Comparison, LabeledComparison
from tinker_cookbook.renderers import Message, Renderer, get_text_content
from tinker_cookbook.rl.data_processing import trajectory_to_data
from tinker_cookbook.rl.types import (
    Action,
    ActionExtra,
    Env,
    EnvGroupBuilder,
    StepResult,
    TrajectoryGroup,
)

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.seeding import derive_seed
from music_envs.adapters.turns import take_turn, turns_of_mask
from music_envs.chat.validation import require_running
from music_envs.chat.world import ChatWorld
from music_envs.credit import token_advantages, turn_advantages

__all__ = ["ChatEnv", "ChatGroupBuilder", "as_labeled_comparison", "turn_level_data"]


@dataclass(frozen=True, kw_only=True)
class ChatGroupBuilder(EnvGroupBuilder):  # type: ignore[misc]  # no types
    """Environments that start from one prompt and meet the same persona with the same seed.

    Attributes:
        world: The user and the reward, with the arguments of the chat environment; you close it.
        prompt: A conversation that ends with the user.
        renderer: The policy's.
        group_size: Number of environments.
        floor: The score of a conversation whose last reply is blank, cut off or cannot be scored. It is below all real
            scores.
        max_tokens: Tokens of one reply at most, as in the training config.
        context_length: Tokens of the policy's context. A conversation ends once another reply would not fit.
        seed: Seed of the users.
    """

    world: ChatWorld
    prompt: Conversation
    renderer: Renderer
    group_size: int
    floor: float
    max_tokens: int
    context_length: int
    seed: int = 0

    async def make_envs(self) -> Sequence["ChatEnv"]:
        """Return the environments of a group."""
        return [ChatEnv(self) for _ in range(self.group_size)]

    def logging_tags(self) -> list[str]:
        """Return the tag of these environments in logs."""
        return ["chat"]


class ChatEnv(Env):  # type: ignore[misc]
    """One conversation with a user. Each step has the reward of its reply.

    A reply that cannot be scored ends the conversation with the floor. If the user fails, the last reply is rewarded as
    if the conversation had been meant to end there. The last step's metrics count both, and full contexts.

    Args:
        group: What it shares with the other environments of its group.
    """

    def __init__(self, group: ChatGroupBuilder) -> None:
        self._group = group
        self._episode = group.world.take_up(group.prompt, derive_seed(group.seed, group.prompt))
        self._messages: list[Message] = group.prompt.to_messages()

    async def initial_observation(self) -> tuple[tinker.ModelInput, StopCondition]:
        """Return the rendered prompt."""
        return self._render(self._messages), self._group.renderer.get_stop_sequences()

    async def step(self, action: Action, *, extra: ActionExtra | None = None) -> StepResult:
        """Add a reply and the user's answer, and reward it.

        Raises:
            ResetNeeded: The conversation is over.
        """
        message, termination = self._group.renderer.parse_response(action)
        replied = [*self._messages, message]

        def fits(answer: str) -> bool:
            prompt = self._render([*replied, {"role": "user", "content": answer}])
            return bool(prompt.length + self._group.max_tokens <= self._group.context_length)

        turn = await take_turn(
            self._group.world,
            require_running(self._episode),
            get_text_content(message).strip(),
            floor=self._group.floor,
            is_cut=(extra or {}).get("stop_reason") == "length" or not termination.is_clean,
            fits=fits,
        )
        self._episode = turn.episode
        self._messages = replied if turn.answer is None else [*replied, {"role": "user", "content": turn.answer}]
        return StepResult(
            reward=turn.reward,
            episode_done=turn.answer is None,
            next_observation=tinker.ModelInput.empty() if turn.answer is None else self._render(self._messages),
            next_stop_condition=self._group.renderer.get_stop_sequences(),
            metrics=turn.outcome if turn.answer is None else {},
        )

    def _render(self, messages: list[Message]) -> tinker.ModelInput:
        return self._group.renderer.build_generation_prompt(messages)


def turn_level_data(group: TrajectoryGroup, *, discount: float) -> list[tinker.Datum]:
    """Return a group's training data, with an advantage for each turn; see `music_envs.credit`.

    Tinker's own `assemble_training_data` gives all turns of a trajectory the same one.

    Args:
        group: Trajectories of `ChatEnv`.
        discount: Weight of the next turn's return; with 0 only a reply's own reward counts.
    """
    trajectories = group.trajectories_G
    rewards = [[step.reward for step in trajectory.transitions] for trajectory in trajectories]
    data: list[tinker.Datum] = []
    for trajectory, by_turn in zip(trajectories, turn_advantages(rewards, len(rewards), discount), strict=True):
        for datum in trajectory_to_data(trajectory, 1.0):
            turns = turns_of_mask(list(map(int, datum.loss_fn_inputs["mask"].tolist())))
            (advantages,) = token_advantages(by_turn[np.newaxis], [turns])
            datum.loss_fn_inputs["advantages"] = tinker.TensorData.from_torch(torch.tensor(advantages))
            by_turn = by_turn[max(turns) + 1 :]  # a renderer that changes earlier replies makes several data
            data.append(datum)
    return data


def as_labeled_comparison(pair: PreferencePair) -> LabeledComparison:
    """Return a pair as a comparison whose completion A is the chosen one; their common messages are the prompt."""
    chosen, rejected = pair.chosen.to_messages(), pair.rejected.to_messages()
    both = zip(chosen[:-1], rejected[:-1], strict=False)
    num_shared = sum(1 for _ in takewhile(lambda messages: messages[0] == messages[1], both))
    comparison = Comparison(chosen[:num_shared], chosen[num_shared:], rejected[num_shared:])
    return LabeledComparison(comparison, "A")
