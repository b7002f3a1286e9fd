"""The score contract: the choices on which a score depends, saved beside the weights and enforced at load.

A reward model's number depends on more than its weights: on the chat template, on whether a BOS token stands in front,
on the tokens whose hidden states are read, and on what happens to conversations that are too long. Trained with one set
of choices and served with another, a model ranks worse without any sign of it. So the choices travel with the model.
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from music.errors import InvalidInputError

__all__ = ["CONTRACT_FILE", "ContractError", "Readout", "RewardStatistics", "ScoreContract"]

CONTRACT_FILE = "score_contract.json"

Readout = Literal["last", "turn_mean"]
"""How a conversation's rewards become its score; see `ScoreContract.readout`."""


class ContractError(InvalidInputError):
    """A tokenizer, a template or a checkpoint cannot give scores that mean what they meant in training."""


class RewardStatistics(BaseModel):
    """Mean and standard deviation of the raw rewards of a reference set, for those who normalise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    std: float = Field(ge=0)
    num_conversations: int = Field(ge=1)


class ScoreContract(BaseModel):
    """What a score depends on besides the weights.

    The fields without alternatives (`reward_token`, `over_long`, `activation`) are written out for those who serve the
    checkpoint with other software.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2
    """Files of version 1 are read too: they knew no readout but `last`."""
    chat_template_sha256: str
    """Of the chat template's text in UTF-8. It reads no clock: a date is part of the text."""
    starts_with_bos: bool
    """Whether the rendered ids start with BOS. They never start with two."""
    readout: Readout = "last"
    """`last`: the score is the reward at the last token of the rendered conversation. `turn_mean`: it is the mean of
    rewards at the ends of all assistant turns that are seen. Each of these is the reward of the conversation cut there,
    as causal attention sees nothing that follows; one forward pass gives them all. Of a conversation beyond
    `max_length`, the turns that are dropped have no part in the mean. It needs a chat template that renders a beginning
    in the same way whatever follows."""
    reward_token: Literal["last"] = "last"
    """A turn's reward is read at the last token of its assistant message, as the template closes it."""
    reward_token_id: int
    """Id of that token: the one with which the template closes an assistant message. A conversation that ends with
    another has no score."""
    pad_token_id: int
    """Never equal to `reward_token_id`: pooling would step over the reward token."""
    max_length: int = Field(ge=1)
    """In tokens."""
    over_long: Literal["drop_oldest_turns"] = "drop_oldest_turns"
    """Beyond `max_length`, whole exchanges are dropped from the left; a system message stays."""
    activation: Literal["none"] = "none"
    """The score is the raw logit."""
    reference: RewardStatistics | None = None
    """Of scores, as `readout` gives them."""

    @model_validator(mode="before")
    @classmethod
    def _from_version_1(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("version") == 1 and "readout" not in data:
            return data | {"version": 2, "readout": "last"}
        return data

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
            raise ContractError(f"{path}: expected a score contract of version 1 or 2: {faults}") from error

    def save(self, directory: Path) -> None:
        """Write the contract into a checkpoint's folder."""
        (directory / CONTRACT_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def require(self, derived: "ScoreContract") -> None:
        """Refuse a tokenizer from which another contract follows.

        Raises:
            ContractError: Template, BOS, reward token or pad token differ from what the model was trained with.
        """
        names = ("chat_template_sha256", "starts_with_bos", "reward_token_id", "pad_token_id")
        differing = [
            f"{name} is {getattr(derived, name)} but the contract says {getattr(self, name)}"
            for name in names
            if getattr(derived, name) != getattr(self, name)
        ]
        if differing:
            raise ContractError(
                f"the tokenizer does not keep the checkpoint's score contract: {'; '.join(differing)}. "
                f"Restore the tokenizer and chat template that were saved with the weights."
            )
