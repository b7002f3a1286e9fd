"""The settings of policy training. Imports no torch: the command line reads its flags from here."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from music.config import Config, Flag
from music.files import require_unfinished
from music.registry import SANDBOX, load_built_in

__all__ = ["POLICY_FOLDER", "RECORD_FILE", "PolicyTrainingConfig"]

POLICY_FOLDER, RECORD_FILE = "policy", "result.json"
FULL_RATE, TINY_RATE = 1e-6, 3e-4
SANDBOX_POLICY = str(load_built_in("language_model", SANDBOX))


class PolicyTrainingConfig(Config):
    """The settings of a run of `train_policy`.

    Example:
        >>> PolicyTrainingConfig(out=Path("runs/rl"), num_steps=15).num_episodes
        64
    """

    out: Path = Path("runs/rl")
    """Output folder of the trained policy, the curves and the held-out conversations."""
    policy: Annotated[str, Flag(show_default=False)] = SANDBOX_POLICY
    """Folder or hub id of the language model to train; by default the sandbox's backbone."""
    reward: Annotated[str, Flag(show_default=False)] = str(load_built_in("reward_model", SANDBOX))
    """Reward: a reward model, MODEL@BASE_URL (a reward model on a server), oracle or length; by default the sandbox's
    starting reward model."""
    judge: str | None = None
    """Second scorer of the held-out conversations, from which the policy never learns; by default oracle if user and
    seeds are the sandbox's, else none."""
    user: str = SANDBOX
    """Endpoint of the user."""
    seeds: str | None = None
    """Preference file, folder or hub id whose prompts start the conversations; every fifth is held out. By default the
    user writes the first message."""
    personas: Path | None = None
    """File of personas from which users are drawn in training; by default users have no persona."""
    eval_personas: Path | None = None
    """File of personas for the held-out episodes; by default the same as in training."""
    num_turns: Annotated[int, Flag(name="--turns")] = Field(default=3, ge=1)
    """Replies per conversation."""
    reward_mode: Literal["per_turn", "terminal"] = "per_turn"
    """`per_turn` rewards each reply by the score of the conversation up to it; `terminal` gives the whole
    conversation's score at its end."""
    discount: float = Field(default=0.0, ge=0, le=1)
    """Share of later rewards that is credited to a reply. With `terminal` it must be above 0."""
    num_steps: int = Field(default=60, ge=1)
    """Training steps; each plays new conversations."""
    num_groups: int = Field(default=8, ge=1)
    """Groups of conversations in a step; each group has its own user."""
    group_size: int = Field(default=8, ge=2)
    """Conversations with the same user, which are compared with each other."""
    updates_per_step: int = Field(default=4, ge=1)
    """Optimizer steps on the conversations of a step; must divide their number."""
    micro_batch_size: int = Field(default=16, ge=1)
    """Largest number of conversations in one forward pass; it changes memory and speed, not the result."""
    learning_rate: float | None = Field(default=None, gt=0)
    """AdamW's constant rate; by default 1e-6, for models of some billion parameters, or 3e-4 for the sandbox's
    backbone."""
    kl_weight: float = Field(default=0.1, ge=0)
    """Weight in the loss of the divergence from the starting policy (TRL's beta); with 0 only the reward counts."""
    max_reply_tokens: int = Field(default=64, ge=1)
    """Largest number of tokens in a reply."""
    evaluate_every: int = Field(default=5, ge=1)
    """Steps between evaluations on the held-out episodes."""
    num_evaluations: int = Field(default=200, ge=2)
    """Held-out episodes, the same at every evaluation."""
    seed: int = 0
    """Seed of the users and of all sampling."""
    overwrite: Annotated[bool, Flag(name="--overwrite")] = False
    """Replace a finished run in `out`; without this, a folder that holds one is refused."""

    def require_unfinished(self) -> None:
        """Refuse an output folder that holds a finished run.

        Raises:
            InvalidInputError: The folder holds a finished run, and `overwrite` is off.
        """
        require_unfinished(self.out, RECORD_FILE, POLICY_FOLDER, "config.json", overwrite=self.overwrite)

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        return self.learning_rate or (TINY_RATE if self.policy == SANDBOX_POLICY else FULL_RATE)

    @property
    def num_episodes(self) -> int:
        """Conversations in a step."""
        return self.num_groups * self.group_size

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.num_episodes % self.updates_per_step:
            raise ValueError(
                f"updates_per_step ({self.updates_per_step}) must divide the {self.num_episodes} conversations of a "
                "step (num_groups * group_size)"
            )
        if self.reward_mode == "terminal" and not self.discount:
            raise ValueError(
                "terminal rewards are credited to earlier replies by the discount: set it above 0, for example to 1"
            )
        return self
