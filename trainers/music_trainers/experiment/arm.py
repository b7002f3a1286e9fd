"""What is trained: `Arm`, its training data, the model that it starts from, and `Ablation`, variations of an arm."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from music.config import Config
from music.sandbox import SKILLS
from music_agents.contrasts import Schedule

__all__ = ["BASE", "Ablation", "Arm", "ArmSettings", "ModelSettings"]

BASE = "base"
"""The sandbox's pairs that differ in the last turn only, in place of Skywork's set."""


class ModelSettings(Config):
    """The model that all arms start from, declared in `[model]`."""

    base: str
    """Folder or hub id of a language model or a reward model."""
    freeze: Literal["none", "backbone"] = "none"
    """`backbone`: only heads are fitted, to hidden states that are computed once. `none`: all weights are trained."""
    max_length: int = Field(default=2048, ge=1)
    """Tokens per conversation."""
    features: Path | None = None
    """Folder of the hidden states of a frozen backbone; by default `features` in the output folder."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak rate of training all weights; by default that of `music train`."""
    batch_size: int | None = Field(default=None, ge=1)
    """Pairs per step of training all weights; by default that of `music train`."""

    @model_validator(mode="after")
    def _uses_every_setting(self) -> Self:
        if self.freeze == "backbone" and (self.learning_rate or self.batch_size):
            raise ValueError("learning_rate and batch_size are for training all weights: leave them out")
        if self.freeze == "none" and self.features:
            raise ValueError("features is for a frozen backbone: also set freeze = 'backbone'")
        return self


class ArmSettings(Config):
    """The training data of an arm's reward model."""

    pairs: dict[str, NonNegativeInt]
    """Number of pairs of each source: one of `[sources]`, or one of the sandbox. Those are `base` and the contrasts, in
    the form of `music simulate --strategy`, for example `forget(turns=2)`. Pairs of files are drawn by the seed. The
    contrasts divide the seed contexts of the seed: the first contrast takes the first ones, and so on, so that arms
    with the same number of simulated pairs have the same contexts. Empty: the starting model, unchanged."""
    tokens_of: str = ""
    """An arm whose number of training tokens this one matches, by more pairs of `fill`."""
    pairs_of: str = ""
    """An arm whose number of training pairs this one matches, by more pairs of `fill`."""
    fill: str = BASE
    """The source of the added pairs."""
    num_turns: int = Field(default=5, ge=1)
    """T: simulated turns of each side."""
    schedule: str = "all"
    """Which simulated turns are contrasted, in the form of `music simulate --schedule`."""
    skill: str = "good"
    """Skill of the simulating models: `perfect`, `good`, `fair` or `weak`."""

    @model_validator(mode="after")
    def _can_be_simulated(self) -> Self:
        Schedule.parse(self.schedule).check(self.num_turns)
        if self.skill not in SKILLS:
            raise ValueError(f"skill: expected one of {', '.join(SKILLS)}, got {self.skill!r}")
        if self.tokens_of and self.pairs_of:
            raise ValueError("expected either `tokens_of` or `pairs_of`, got both")
        return self

    @property
    def matches(self) -> str:
        """The arm whose amount of training data this one matches; empty if there is none."""
        return self.tokens_of or self.pairs_of


class Arm(Config):
    """A reward model of the grid, trained once per seed."""

    name: str = Field(min_length=1)
    """Unique in the grid."""
    description: str = ""
    """Its purpose, in one line."""
    settings: ArmSettings
    """Its training data."""
    against: tuple[str, ...] = ()
    """Arms that it is compared with."""


class Ablation(Config):
    """Variations of one arm, each with a few settings changed."""

    of: str
    """The arm that varies."""
    axis: str
    """The setting that changes, for people to read."""
    variations: dict[str, dict[str, Any]]
    """By label (a number if the axis is numeric), the settings that differ from the arm's; empty for the arm itself."""
    num_seeds: int | None = Field(default=None, ge=1)
    """Use only this many of the grid's seeds, the first ones; by default all."""
