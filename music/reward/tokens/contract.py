"""The score contract: the choices on which a score depends, saved beside the weights and enforced at load.

A score depends on more than weights: on the chat template, on whether BOS comes first, on the tokens at which rewards
are read, and on how long conversations are shortened. A model that is trained with one set of choices and served with
another silently ranks worse. So the choices are saved with the model.

This module also says how rewards become a score (`read_rewards`), and holds the result of scoring: `Scored`, a score or
the reason why there is none (`Unscorable`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from music.errors import InvalidInputError

__all__ = [
    "CONTRACT_FILE",
    "ContractError",
    "ReadAt",
    "Readout",
    "RewardStatistics",
    "ScoreContract",
    "Scored",
    "Unscorable",
    "UnscorableError",
    "read_rewards",
    "turn_weights",
]

CONTRACT_FILE = "score_contract.json"

Readout = Literal["last", "turn_mean", "turn_min", "end_weighted"]
"""How a conversation's rewards become its score; see `ScoreContract.readout`."""
ReadAt = Literal["last", "last_non_pad", "eos"]
"""At which token a reward is read; see `ScoreContract.read_at`."""


class ContractError(InvalidInputError):
    """A tokenizer, a template or a checkpoint cannot give the scores that the model was trained to give."""


class RewardStatistics(BaseModel):
    """Mean and standard deviation of the raw rewards of a reference set, for users who normalise scores.

    Example:
        >>> statistics = RewardStatistics(mean=0.5, std=2.0, num_conversations=100)
        >>> (1.5 - statistics.mean) / statistics.std
        0.5
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    std: float = Field(ge=0)
    num_conversations: int = Field(ge=1)


class ScoreContract(BaseModel):
    """What a score depends on besides the weights.

    Fields with a single value (`over_long`, `activation`) inform users who serve the checkpoint with other software.

    Example:
        >>> contract = ScoreContract.load(Path("runs/rm/score_contract.json"))  # doctest: +SKIP
        >>> contract.readout, contract.read_at, contract.max_length  # doctest: +SKIP
        ('last', 'last', 4096)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[3] = 3
    """Files of versions 1 and 2 are read too. In both `read_at` is `last`, and in version 1 the readout is `last`."""
    chat_template_sha256: str
    """SHA-256 of the chat template's text in UTF-8. The template reads no clock: a date is part of the text."""
    starts_with_bos: bool
    """Whether the rendered ids start with BOS. They never start with two."""
    readout: Readout = "last"
    """How rewards become the score of a conversation.

    - `last`: the score is the reward at the last token of the rendered conversation.
    - `turn_mean`: the score is the mean of the rewards at the ends of all assistant turns.
    - `turn_min`: the score is the lowest of these rewards.
    - `end_weighted`: the score is the mean of these rewards with weights 1, 2, 3, ... from the first turn to the last.

    The reward at the end of a turn is that of the conversation cut there, as causal attention sees nothing that
    follows; one forward pass gives them all. Turns that are dropped because of `max_length` do not count. With all
    readouts but `last`, the chat template must render a beginning in the same way whatever follows.
    """
    read_at: ReadAt = "last"
    """Where the reward of a conversation, or of a turn as the conversation cut there, is read.

    - `last`: at the last token, with which the template closes an assistant message.
    - `last_non_pad`: at the last token that is not the pad token, if the pad token also closes assistant messages.
      Vanilla `transformers` reads there, and models that were trained with it (TRL) expect it. Servers that read the
      last token, as vLLM does, give other numbers.
    - `eos`: at EOS, as OpenRLHF does. The chat template drops newlines at the end of the conversation, and puts a space
      and EOS there if it does not end with EOS. EOS is then the last token for all software that renders with it.
    """
    reward_token_id: int
    """Id of the token with which every rendered conversation ends. A conversation that ends otherwise has no score."""
    pad_token_id: int
    """Id of the pad token. It equals `reward_token_id` if `read_at` is `last_non_pad`, and differs if it is `last`, as
    vanilla `transformers` would skip the reward token. With `eos` the two are equal only if the tokenizer has no other
    token to pad with; vanilla `transformers` then gives other numbers."""
    max_length: int = Field(ge=1)
    """Most tokens of a conversation."""
    over_long: Literal["drop_oldest_turns"] = "drop_oldest_turns"
    """Conversations over `max_length` lose whole exchanges from the left; a system message stays."""
    activation: Literal["none"] = "none"
    """The score is the raw logit."""
    reference: RewardStatistics | None = None
    """Statistics of scores by this `readout`."""

    @model_validator(mode="before")
    @classmethod
    def _from_earlier_versions(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("version") not in (1, 2) or "read_at" in data:
            return data
        if data["version"] == 1 and "readout" in data:
            return data
        earlier = {name: value for name, value in data.items() if (name, value) != ("reward_token", "last")}
        return earlier | {"version": 3, "read_at": "last"}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a contract.

        Raises:
            ContractError: The file is not a contract of a known version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
            raise ContractError(f"{path}: expected a score contract of version 1, 2 or 3: {faults}") from error

    def save(self, directory: Path) -> None:
        """Write the contract into a checkpoint's folder."""
        (directory / CONTRACT_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def require(self, derived: "ScoreContract") -> None:
        """Check that the contract derived from a tokenizer agrees with this one.

        Raises:
            ContractError: Template, BOS, reward token, its place or the pad token differ from those in training.
        """
        names = ("chat_template_sha256", "starts_with_bos", "read_at", "reward_token_id", "pad_token_id")
        differing = [
            f"{name} is {getattr(derived, name)} but the contract says {getattr(self, name)}"
            for name in names
            if getattr(derived, name) != getattr(self, name)
        ]
        if differing:
            raise ContractError(
                f"the tokenizer does not match the checkpoint's score contract: {'; '.join(differing)}. "
                f"Restore the tokenizer and chat template that were saved with the weights."
            )


def turn_weights(readout: Readout, num_turns: int) -> list[float]:
    """Return the weights of the rewards whose weighted mean is the score, `[num_turns]`.

    Example:
        >>> turn_weights("end_weighted", 3)
        [1.0, 2.0, 3.0]

    Raises:
        InvalidInputError: The readout is `turn_min`, which is no weighted mean.
    """
    match readout:
        case "last":
            return [0.0] * (num_turns - 1) + [1.0]
        case "turn_mean":
            return [1.0] * num_turns
        case "end_weighted":
            return [float(turn) for turn in range(1, num_turns + 1)]
        case "turn_min":
            raise InvalidInputError(
                "expected a readout that is linear in the rewards (last, turn_mean or end_weighted), got turn_min"
            )


def read_rewards(readout: Readout, rewards: Sequence[float]) -> float:
    """Return a conversation's score.

    Example:
        >>> read_rewards("turn_min", [0.5, -1.0, 2.0])
        -1.0

    Args:
        readout: The readout.
        rewards: At least one reward: those after the assistant turns, in their order. For `last`, that after the last
            turn is enough.
    """
    if readout == "turn_min":
        return min(rewards, key=lambda reward: (not isnan(reward), reward))  # NaN is the lowest, so that it shows
    return fmean(rewards, turn_weights(readout, len(rewards)))


class Unscorable(StrEnum):
    """Why a conversation has no score.

    Example:
        >>> Unscorable.NO_REPLY
        <Unscorable.NO_REPLY: 'no_reply'>
    """

    NO_REPLY = "no_reply"
    """The conversation is empty, or does not end with the assistant."""
    OVER_LONG = "over_long"
    """Its last exchange alone is longer than the contract's `max_length`."""
    TEMPLATE_REFUSED = "template_refused"
    """The chat template refuses it, as Gemma's refuses a system message."""
    TOOL_CALLS_NOT_RENDERED = "tool_calls_not_rendered"
    """It has tool calls that the chat template does not render, so the score would ignore them."""
    TEXT_NOT_OF_TEMPLATE = "text_not_of_template"
    """It came as text, which is not what the chat template renders, or cannot be read back into messages though the
    readout needs them."""
    REWARD_TOKEN_MISSING = "reward_token_missing"
    """It does not end with the contract's reward token, or a turn that is read does not. If a template closes messages
    with plain text, such as a newline, the tokenizer can merge that text with the end of a reply into another token."""
    REFUSED = "refused"
    """A server refused it, for a reason that is not in this list or that it does not give (see `RemoteReward`)."""


class UnscorableError(InvalidInputError):
    """A conversation has no score; `Unscorable` lists the reasons of a `RewardModel`.

    Example:
        >>> raise UnscorableError("conversation 3 is too long")
        Traceback (most recent call last):
        music.reward.tokens.contract.UnscorableError: conversation 3 is too long
    """


@dataclass(frozen=True, slots=True)
class Scored:
    """A conversation's score, or why it has none.

    Attributes:
        score: The score by the readout of the model's contract; None if there is a problem.
        turns: The reward after each assistant turn, if they were asked for.
        num_dropped_turns: Number of oldest exchanges that were dropped, so that the score does not depend on them.
        problem: Why there is no score; None if there is one.

    Example:
        >>> Scored(None, problem=Unscorable.OVER_LONG).problem
        <Unscorable.OVER_LONG: 'over_long'>
    """

    score: float | None
    turns: tuple[float, ...] = ()
    num_dropped_turns: int = 0
    problem: Unscorable | None = None
