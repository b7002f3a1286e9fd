"""`MessageRewardManager`: scores the messages of a rollout, for verl's own agent loops.

verl's reward workers pass a rollout as one text, in which users and assistants cannot be distinguished. This one builds
the conversation from the prompt's messages and the reply.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.preferences.messages import parse_messages
from music.preferences.row_messages import to_conversation
from music.reward.functions import load_reward
from music.reward.tokens.queries import as_prompt, replied
from music_envs.adapters.verl.single_turn import SINGLE_TURN
from music_envs.scoring import scores_or_none

__all__ = ["MessageRewardManager"]


class MessageRewardManager(RewardManagerBase):  # type: ignore[misc]  # no types
    """A reward manager for single replies, and for agent loops that report `messages` in their `extra_fields`.

    It reads `reward.reward_kwargs`: `model`, the name of a reward (see `load_reward`), and `floor`, the score of a
    reply that cannot be scored. verl puts the score on the rollout's last token. `ChatAgentLoop` needs no manager: it
    rewards each reply itself.
    """

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        options: Mapping[str, Any] = config.reward.get("reward_kwargs") or {}
        if missing := {"model", "floor"} - set(options):
            raise InvalidInputError(
                f"expected reward.reward_kwargs.{' and '.join(sorted(missing))}: set +reward.reward_kwargs.model=NAME "
                "+reward.reward_kwargs.floor=NUMBER"
            )
        self._reward = load_reward(str(options["model"]))
        self._floor = float(options["floor"])

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Score the last sequence of a rollout.

        Raises:
            InvalidInputError: It has several turns, and its loop does not report its messages.
        """
        conversation = self._conversation(data[-1])
        (score,) = await asyncio.to_thread(scores_or_none, self._reward, [conversation])
        reported = {"unscorable": float(score is None)}
        return {"reward_score": self._floor if score is None else score, "reward_extra_info": reported}

    def _conversation(self, row: Any) -> Conversation | None:
        """Return the messages of a rollout; None if its reply is blank."""
        fields = row.non_tensor_batch
        reported = dict(fields.get("tool_extra_fields") or {}).get("messages")
        if reported is not None:
            return to_conversation(parse_messages(list(reported), "messages"), "messages")
        if fields["__num_turns__"] > SINGLE_TURN:
            raise InvalidInputError(
                f"expected `messages` in the extra_fields of a rollout of {fields['__num_turns__']} turns, because its "
                "text does not distinguish the user from the assistant: use a loop that reports them"
            )
        ids = row.batch["responses"]
        num_tokens = int(row.batch["attention_mask"][-len(ids) :].sum())
        reply = str(self.tokenizer.decode(ids[:num_tokens], skip_special_tokens=True))
        return replied(as_prompt(list(fields["raw_prompt"])), reply)
