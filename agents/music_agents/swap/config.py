"""`SwapConfig`: the settings of `music swap`."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from music.config import Config, Flag
from music.errors import InvalidInputError
from music_agents.contrasts import Schedule

__all__ = ["SwapConfig"]

_HIDDEN = Flag(is_hidden=True)


class SwapConfig(Config):
    """The settings of `music swap`."""

    schedule: str = "all"
    """Turns whose replies are swapped: all, first, last, turns:1,3 or probability:0.5."""
    min_similarity: float = Field(default=0.1, gt=0, le=1)
    """Smallest TF-IDF cosine of two requests whose replies are swapped."""
    max_similarity: float = Field(default=0.5, gt=0, le=1)
    """Greatest one: the reply to nearly the same request may be right."""
    max_length_ratio: float = Field(default=2.0, ge=1)
    """Greatest ratio of the lengths of two replies that are swapped."""
    gates: bool = True
    """Drop unusable pairs."""
    refusals: Literal["rejected_alone", "one_sided", "any"] = "rejected_alone"
    """Refusals that drop a pair."""
    eval_fraction: Annotated[float, Flag(name="--eval-fraction")] = Field(default=0.0, ge=0, lt=1)
    """Share of the conversations that are swapped among themselves, for pairs in OUT/eval."""
    seed: NonNegativeInt = 0
    """Seed of all random draws."""
    shard_size: Annotated[PositiveInt, _HIDDEN] = 1000
    """Rows of an output file."""

    @field_validator("schedule")
    @classmethod
    def _check_schedule(cls, schedule: str) -> str:
        Schedule.parse(schedule)
        return schedule

    @model_validator(mode="after")
    def _check_band(self) -> Self:
        if self.min_similarity >= self.max_similarity:
            raise InvalidInputError(
                f"expected --min-similarity below --max-similarity, got {self.min_similarity:g} and "
                f"{self.max_similarity:g}"
            )
        return self
