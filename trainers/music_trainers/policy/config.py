"""The settings of policy training. Imports no torch: the command line reads its flags from here."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from music.config import Config, Flag
from music.files import require_resumable
from music.registry import SANDBOX

__all__ = ["CHECKPOINTS", "CHECKPOINT_FOLDER", "POLICY_FOLDER", "RECORD_FILE", "STEPS_FILE", "PolicyTrainingConfig"]

CHECKPOINT_FOLDER, POLICY_FOLDER, RECORD_FILE, STEPS_FILE = "checkpoints", "policy", "result.json", "training.jsonl"
FULL_RATE, LORA_RATE, TINY_RATE = 1e-6, 1e-5, 3e-4
CHECKPOINTS = "step-" + 8 * "[0-9]"
"""Pattern of the names of checkpoints."""
PANEL = Flag(panel="Checkpoints")


class PolicyTrainingConfig(Config):
    """The settings of a run of `train_policy`.

    Example:
        >>> PolicyTrainingConfig(out=Path("runs/rl"), num_steps=15).num_episodes
        64
    """

    out: Path = Path("runs/rl")
    """Output folder of the trained policy, the curves and the held-out conversations."""
    policy: str = SANDBOX
    """Folder or hub id of the language model to train, or `sandbox` for the sandbox's backbone."""
    reward: str = SANDBOX
    """Reward: a reward model, MODEL@BASE_URL (a reward model on a server), oracle or length; or `sandbox` for the
    sandbox's starting reward model."""
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
    """AdamW's constant rate; by default 1e-6, for models of some billion parameters, 1e-5 with LoRA, or 3e-4 for the
    sandbox's backbone."""
    kl_weight: float = Field(default=0.1, ge=0)
    """Weight in the loss of the divergence from the starting policy (TRL's beta); with 0 only the reward counts."""
    max_reply_tokens: int = Field(default=64, ge=1)
    """Largest number of tokens in a reply."""
    max_length: int | None = Field(default=None, ge=2)
    """Most tokens of a conversation, in the policy's tokens; an episode whose next prompt leaves no room for a reply
    ends, and its last reward counts. By default what the policy can read. The reward model's own limit holds too."""
    floor: float | None = None
    """Reward of a reply that is blank or cannot be scored; it ends the episode. By default the lowest score of the
    step, so that such a reply is never better than another one."""
    rollouts: Literal["lock_step", "asynchronous"] = "lock_step"
    """With `lock_step` all conversations of a step wait for the slowest user at every turn, and a resumed run is exact.
    With `asynchronous` they do not wait for the users of others. Held-out episodes are always in lock-step."""
    vllm_server: str | None = None
    """Base URL of a vLLM server of the policy that generates the replies of training, as in http://127.0.0.1:8000. It
    gets the new weights before every step, and needs GPUs of its own; docs/rl.md has its command. By default
    transformers generates."""
    min_finished: float = Field(default=0.9, gt=0, le=1)
    """Share of the conversations with which an asynchronous step ends. The last replies of the others are dropped and
    counted, so every reply that is learned from was sampled by the current weights."""
    lora_rank: int = Field(default=0, ge=0)
    """Train LoRA adapters of this rank on all linear layers in place of all weights; 0 for none. They are merged into
    the saved policy. The starting policy is then the model without adapters, which needs no memory of its own."""
    lora_alpha: int | None = Field(default=None, ge=1)
    """Scale of the adapters; by default twice the rank."""
    evaluate_every: int = Field(default=5, ge=1)
    """Steps between evaluations on the held-out episodes."""
    num_evaluations: int = Field(default=200, ge=2)
    """Held-out episodes, the same at every evaluation."""
    seed: int = 0
    """Seed of the users and of all sampling."""
    max_outage: float = Field(default=600.0, ge=0)
    """Most seconds to wait for a user, reward or judge that cannot be reached; then the run saves a checkpoint and
    ends."""
    checkpoint_every: Annotated[int, PANEL] = Field(default=10, ge=0)
    """Steps between checkpoints, from which a run can resume; 0 for none but those of Ctrl-C and of an outage. They are
    removed at the end of the run."""
    keep_checkpoints: Annotated[int, PANEL] = Field(default=2, ge=1)
    """How many of the latest checkpoints to keep."""
    resume: Annotated[bool, PANEL] = False
    """Resume from the last checkpoint in `out`, if there is one."""
    overwrite: Annotated[bool, Flag(name="--overwrite", panel="Checkpoints")] = False
    """Replace a run in `out`, finished or not; without this, a folder that holds one is refused."""

    def require_unfinished(self) -> None:
        """Refuse an output folder whose content would be lost.

        Raises:
            InvalidInputError: The folder holds a finished run, without `overwrite`; or it holds an unfinished run,
                without `resume` or `overwrite`.
        """
        require_resumable(
            self.out,
            RECORD_FILE,
            (POLICY_FOLDER, "config.json"),
            f"{CHECKPOINT_FOLDER}/{CHECKPOINTS}",
            resume=self.resume,
            overwrite=self.overwrite,
        )

    @property
    def rate(self) -> float:
        """The learning rate in use."""
        default = TINY_RATE if self.policy == SANDBOX else LORA_RATE if self.lora_rank else FULL_RATE
        return self.learning_rate or default

    @property
    def num_episodes(self) -> int:
        """Conversations in a step."""
        return self.num_groups * self.group_size

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.max_length is not None and self.max_length <= self.max_reply_tokens:
            raise ValueError(
                f"max_length ({self.max_length}) must be more than max_reply_tokens ({self.max_reply_tokens}): a "
                "conversation holds a prompt and a reply"
            )
        return self

    @field_validator("vllm_server")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError(f"expected the base URL of a vLLM server, as in http://127.0.0.1:8000, got {value!r}")
        return value

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
