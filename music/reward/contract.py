"""The score contract: the choices on which a score depends, saved beside the weights and enforced at load.

A reward model's number depends on more than its weights: on the chat template, on whether a BOS token stands in front,
on the token whose hidden state is read, and on what happens to conversations that are too long. Trained with one set of
choices and served with another, a model ranks worse without any sign of it. So the choices travel with the model.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from music.errors import InvalidInputError

__all__ = ["CONTRACT_FILE", "ContractError", "RewardStatistics", "ScoreContract"]

CONTRACT_FILE = "score_contract.json"


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

    version: Literal[1] = 1
    chat_template_sha256: str
    """Of the chat template's text in UTF-8."""
    starts_with_bos: bool
    """Whether the rendered ids start with BOS. They never start with two."""
    reward_token: Literal["last"] = "last"
    """The reward is read at the last token of the rendered conversation; for a turn's score, of the rendered prefix."""
    reward_token_id: int
    """Id of that token: the one with which the template closes an assistant message."""
    pad_token_id: int
    """Never equal to `reward_token_id`: pooling would step over the reward token."""
    max_length: int = Field(ge=1)
    """In tokens."""
    over_long: Literal["drop_oldest_turns"] = "drop_oldest_turns"
    """Beyond `max_length`, whole exchanges are dropped from the left; a system message stays."""
    activation: Literal["none"] = "none"
    """The score is the raw logit."""
    reference: RewardStatistics | None = None

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a contract.

        Raises:
            ContractError: The file is not a contract of this version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ContractError(f"{path}: expected a score contract of version 1: {error}") from error

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
