"""Rollouts: a policy plays episodes of a `ChatVectorEnv`, and every token keeps its turn and its author.

- `ChatTokens`: a conversation as the tokens that a policy reads and writes; they are never decoded and encoded again.
- `sample_replies`: replies of a local language model, many at once.
- `roll_out`: episodes as `Trajectory`s.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from music.chat_template import template_text
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.tokens.fixed_date import with_fixed_date
from music_envs import ChatVectorEnv
from music_envs.adapters.template import TurnTemplate
from music_envs.credit import USER

__all__ = ["ChatTokens", "Generate", "Trajectory", "pad", "roll_out", "sample_replies"]

SILENCE = "..."
"""The text of an empty reply, as environments refuse a blank one."""

Generate = Callable[[Sequence[Sequence[int]]], list[list[int]]]
"""A function from prompts to replies, as token ids."""


class ChatTokens:
    """A conversation as a policy's chat template writes it, turn by turn.

    Args:
        tokenizer: A tokenizer with a chat template.
        end_ids: Tokens that end a reply; the tokenizer's own end token is added.

    Raises:
        InvalidInputError: There is no template, or it ends the assistant's messages with none of these tokens, or it
            ends a message differently once more turns follow.
    """

    def __init__(self, tokenizer: Any, end_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        # Only during training: the tokenizer that is saved with the policy writes the current date.
        template = template_text(tokenizer, "save the policy's tokenizer with one")
        self._fixed = {"chat_template": with_fixed_date(template)}
        self._template = TurnTemplate(tokenizer, **self._fixed)
        own = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
        self.end_ids: tuple[int, ...] = tuple(dict.fromkeys((*end_ids, *own)))
        self.closing_id: int = self._template.closing_id
        if self.closing_id not in self.end_ids:
            raise InvalidInputError(
                f"expected a chat template that ends replies with a token at which the model stops, one of "
                f"{tokenizer.convert_ids_to_tokens(list(self.end_ids))}, got {self._template.closing!r}"
            )
        self.pad_id: int = self.closing_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def opening(self, conversation: Conversation) -> list[int]:
        """Return the tokens that the policy reads before its first reply."""
        encoded = self._tokenizer.apply_chat_template(
            conversation.to_messages(), add_generation_prompt=True, return_dict=True, **self._fixed
        )
        return list(encoded["input_ids"])

    def between(self, message: str) -> list[int]:
        """Return the tokens between a reply with its end token and the next reply: those of a user message."""
        return self._template.encode(self._template.between(message, closed=True))

    def text(self, reply: Sequence[int]) -> str:
        """Return a reply's text."""
        text: str = self._tokenizer.decode(reply, skip_special_tokens=True)
        return text.strip()


def sample_replies(
    model: Any, tokens: ChatTokens, prompts: Sequence[Sequence[int]], *, max_tokens: int, greedy: bool = False
) -> list[list[int]]:
    """Sample one reply to each prompt from the model's own distribution: temperature 1, without top-k or top-p.

    Args:
        model: A causal language model on its device.
        tokens: The chat template, which has the tokens that end a reply.
        prompts: Token ids up to the start of the reply.
        max_tokens: Largest number of tokens in a reply.
        greedy: Take the likeliest token each time instead of sampling.

    Returns:
        Token ids; the last is an end token unless the reply was cut at `max_tokens`.
    """
    ids = pad(prompts, tokens.pad_id, side="left")
    mask = pad([[1] * len(prompt) for prompt in prompts], 0, side="left")
    how = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    with torch.no_grad():
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max_tokens,
            eos_token_id=list(tokens.end_ids),
            pad_token_id=tokens.pad_id,
            **how,
        )
    replies = []
    for reply in output[:, ids.shape[1] :].tolist():
        end = next((place for place, token in enumerate(reply) if token in tokens.end_ids), len(reply))
        replies.append(reply[: end + 1])
    return replies


def pad(rows: Sequence[Sequence[int | float]], value: float, side: str = "right") -> Tensor:
    """Return rows of different lengths as one tensor, shape `[rows, longest]`."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True, padding_value=value, padding_side=side
    )


@dataclass(slots=True)
class Trajectory:
    """One episode as tokens.

    Attributes:
        prompt_ids: The tokens that the policy read before its first reply.
        completion_ids: All later tokens: its replies, and the user's messages between them.
        turns: For each completion token, the turn of the reply that it belongs to, from 0, or `USER`.
        rewards: The reward of each turn; NaN for a turn with an error, from which nothing is learned.
        conversation: The text.
        is_over: Whether the episode has ended.
        num_cut: Replies that were cut at the largest number of tokens.
        num_blank: Replies without text.
        error: What ended the episode, if an error did.
    """

    prompt_ids: list[int]
    conversation: Conversation
    completion_ids: list[int] = field(default_factory=list)
    turns: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    is_over: bool = False
    num_cut: int = 0
    num_blank: int = 0
    error: str = ""

    def add_reply(self, reply: list[int], tokens: ChatTokens) -> str:
        """Add the policy's reply and return its text; a cut reply gets an end token that is not the policy's."""
        self._write(reply, len(self.rewards))
        if reply[-1] not in tokens.end_ids:
            self.num_cut += 1
            self._write([tokens.closing_id], USER)
        text = tokens.text(reply)
        self.num_blank += not text
        return text or SILENCE

    def add_outcome(self, conversation: Conversation, reward: float, is_over: bool, tokens: ChatTokens) -> None:
        """Add the reward of the reply and, unless the episode is over, the user's next message."""
        self.rewards.append(reward)
        self.is_over = is_over
        self.conversation = conversation
        if not is_over:
            self._write(tokens.between(conversation.messages[-1].content), USER)

    def _write(self, ids: list[int], turn: int) -> None:
        self.completion_ids += ids
        self.turns += [turn] * len(ids)


def roll_out(env: ChatVectorEnv, tokens: ChatTokens, generate: Generate, seeds: Sequence[int]) -> list[Trajectory]:
    """Play one episode in each environment.

    Args:
        env: One environment per seed. Equal seeds have equal users.
        tokens: The policy's chat template.
        generate: The policy.
        seeds: Seeds of the episodes.

    Raises:
        EndpointError, RoleFailedError: A user gave no first message.
    """
    observations, _ = env.reset(seed=list(seeds))
    played = [Trajectory(tokens.opening(conversation), conversation) for conversation in observations]
    while running := [i for i, trajectory in enumerate(played) if not trajectory.is_over]:
        replies = generate([played[i].prompt_ids + played[i].completion_ids for i in running])
        actions = [SILENCE] * len(played)  # ignored by environments whose episode is over
        for i, reply in zip(running, replies, strict=True):
            actions[i] = played[i].add_reply(reply, tokens)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        for i in running:
            reward = float("nan") if truncated[i] else float(rewards[i])
            played[i].error = infos["error"][i] if truncated[i] else ""
            played[i].add_outcome(observations[i], reward, bool(terminated[i] or truncated[i]), tokens)
    return played
