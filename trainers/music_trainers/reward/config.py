"""The settings of a training run. Imports no torch: the command line reads its flags from here."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from music.config import Config, Flag
from music.errors import InvalidInputError
from music.files import require_resumable
from music.registry import SANDBOX
from music.reward.tokens.contract import ReadAt, Readout
from music_trainers.precision import StatesPolicy

__all__ = ["CHECKPOINT_FOLDER", "RECORD_FILE", "Objective", "RewardTrainingConfig", "Scheduler"]

FULL_RATE, LORA_RATE, TINY_RATE = 2e-6, 1e-4, 1e-3
PAIRS, CONVERSATIONS, STEPS = Flag(panel="Pairs"), Flag(panel="Conversations"), Flag(panel="Steps")
EVALUATION, MEMORY = Flag(panel="Evaluation"), Flag(panel="Memory and speed")
CHECKPOINTS, FROZEN = Flag(panel="Checkpoints and tracking"), Flag(panel="Frozen backbone")
Scheduler = Literal["cosine", "linear", "constant"]
CHECKPOINT_FOLDER, RECORD_FILE = "checkpoints", "training.json"
_OF_FROZEN = {
    *("base", "out", "chat_template", "read_at", "objective", "max_length", "eval_fraction", "seed", "device"),
    *("micro_batch_tokens", "resume", "overwrite", "freeze", "ridge", "features"),
}
"""Settings that mean something if the backbone is frozen."""
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_config.json")


class Objective(Config):
    """The loss of a run: its mean over the pairs of a step is minimised."""

    readout: Readout | None = None
    """The reward of a conversation: the reward at its end (`last`), or of the rewards after each assistant turn the
    mean (`turn_mean`), the lowest (`turn_min`) or the mean with weights 1, 2, 3, ... (`end_weighted`). It becomes part
    of the model's score contract. By default the base's, or `last` if it has none."""
    margin: float = Field(default=0.0, ge=0)
    """By how much the chosen side should win, in addition to a pair's own margin."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the labels that are assumed to be wrong."""
    center_rewards_coefficient: float = Field(default=0.0, ge=0)
    """Weight of (chosen + rejected)^2, which draws rewards to a mean of zero."""
    per_turn: float = Field(default=0.0, ge=0)
    """Weight of a pair's mean loss over its turns, each against the same turn of the other side. Turns up to which both
    sides are the same are left out."""
    ranking: Literal["pairs", "groups"] = "pairs"
    """`pairs` compares two sides; `groups` ranks a chosen side above all rejected sides at once, if several pairs of a
    step share it."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        unused = [name for name in ("margin", "label_smoothing", "per_turn") if getattr(self, name)]
        if self.ranking == "groups" and unused:
            raise ValueError(f"ranking by groups compares more than two sides and does not use {', '.join(unused)}")
        return self

    @property
    def reads_turns(self) -> bool:
        """Whether rewards are read after every assistant turn."""
        return self.readout not in (None, "last") or self.per_turn > 0


class RewardTrainingConfig(Config):
    """The settings of a run of `train_reward_model`.

    Example:
        >>> RewardTrainingConfig(base="google/gemma-2-9b-it", out=Path("runs/rm"), lora_rank=16).learning_rate
        0.0001
    """

    base: str
    """Folder or hub id of a language model, or of a reward model to train further (its head is kept); or `sandbox`, the
    sandbox's own small language model."""
    out: Path
    """Output folder of the trained model."""
    learning_rate: Annotated[float, Flag(panel="Steps", show_default=False)] = Field(default=FULL_RATE, gt=0)
    """Peak rate. By default 2e-6, the paper's value for full fine-tuning of models of some billion parameters, 1e-4
    with LoRA, or 1e-3 for the sandbox's language model."""
    allow_large_rate: Annotated[bool, STEPS] = False
    """Allow a rate of 1e-4 or more for full fine-tuning of a model of more than 100M parameters. It is refused
    otherwise: such rates are for LoRA and small models, and ruin a large one."""
    chat_template: Annotated[str | None, CONVERSATIONS] = None
    """Chat template for a base without one, or in place of its own: a file, the name of one of the tokenizer's
    templates, or a built-in one: `chatml`, `gemma`, `llama3` or `zephyr`. It is saved with the model."""
    read_at: Annotated[ReadAt | None, CONVERSATIONS] = None
    """Token at which rewards are read: `last`, `last_non_pad` (the last that is not the pad token) or `eos` (as in
    OpenRLHF). By default as the base was trained, or `last`. It becomes part of the model's score contract."""
    objective: Annotated[Objective, Flag(panel="Loss")] = Objective()
    """The loss."""
    freeze: Annotated[Literal["none", "backbone"], FROZEN] = "none"
    """`backbone` keeps all weights of the base but its head: hidden states at the ends of turns are computed once, and
    the head is fitted to them in closed loop. `none` trains all weights, or adapters."""
    ridge: Annotated[float | None, FROZEN] = Field(default=None, gt=0)
    """Strength of the penalty on the head of a frozen backbone. By default the one with the lowest held-out NLL among
    the training pairs, where each fifth of the prompts is held out once."""
    features: Annotated[Path | None, FROZEN] = None
    """Folder for the hidden states of a frozen backbone. Runs that share it compute each state once. By default
    `features` in `out`."""
    batch_size: Annotated[int, STEPS] = Field(default=64, ge=1)
    """Pairs per optimizer step, over all processes."""
    num_epochs: Annotated[int, STEPS] = Field(default=1, ge=1)
    """Passes over the pairs."""
    max_steps: Annotated[int | None, STEPS] = Field(default=None, ge=1)
    """Number of optimizer steps, in place of epochs."""
    max_length: Annotated[int, PAIRS] = Field(default=2048, ge=1)
    """Tokens per conversation. Longer ones lose their oldest exchanges, the same on both sides of a pair (a system
    message stays); if the last exchange alone is too long, the pair is dropped and counted."""
    keep_seeds_together: Annotated[bool, PAIRS] = False
    """Keep the pairs of a seed conversation in one step, so that shared tokens are computed once. Steps then see fewer
    different conversations. Ranking by groups always does this."""
    eval_fraction: Annotated[float, EVALUATION] = Field(default=0.05, ge=0, lt=1)
    """Share of the seed conversations whose pairs are held out, if no held-out pairs are given."""
    evaluate_every: Annotated[int, EVALUATION] = Field(default=250, ge=0)
    """Steps between evaluations on the held-out pairs; with 0, only the start and the end are evaluated. The result is
    the weights with the lowest held-out NLL among these and the last."""
    patience: Annotated[int, EVALUATION] = Field(default=0, ge=0)
    """Stop after this many evaluations in a row without a new lowest NLL; with 0, never."""
    lora_rank: Annotated[int, MEMORY] = Field(default=0, ge=0)
    """Train LoRA adapters of this rank on all linear layers, and the head in full, in place of all weights; 0 for none.
    They are merged into the saved model, which is then fp32."""
    lora_alpha: Annotated[int | None, MEMORY] = Field(default=None, ge=1)
    """Scale of the adapters; by default twice the rank."""
    load_in_4bit: Annotated[bool, Flag(name="--load-in-4bit", panel="Memory and speed")] = False
    """Keep the base's linear layers in 4 bits while adapters are trained (QLoRA, by bitsandbytes): half a byte per
    weight."""
    seed: Annotated[int, STEPS] = 0
    """Seed of a new head, the held-out split, the order of pairs, and dropout."""
    warmup_fraction: Annotated[float, STEPS] = Field(default=0.03, ge=0, le=1)
    """Share of the steps during which the rate rises; after that it follows the scheduler."""
    weight_decay: Annotated[float, STEPS] = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: Annotated[float, STEPS] = Field(default=1.0, gt=0)
    """Upper bound on the gradient's norm."""
    scheduler: Annotated[Scheduler, STEPS] = "cosine"
    """How the rate falls after the warm-up: to 0 along a `cosine` or a `linear` line, or not at all (`constant`)."""
    adam_beta1: Annotated[float, STEPS] = Field(default=0.9, ge=0, lt=1)
    """AdamW's decay of the mean gradient."""
    adam_beta2: Annotated[float, STEPS] = Field(default=0.999, ge=0, lt=1)
    """AdamW's decay of the mean squared gradient."""
    aux_loss: Annotated[float | None, STEPS] = Field(default=None, ge=0)
    """Weight of the load-balancing loss on the routers of a mixture of experts, computed over the tokens of each packed
    row. By default the base's `router_aux_loss_coef` if its config sets `output_router_logits`, else 0."""
    dropout: Annotated[bool, Flag(name="--dropout", panel="Steps")] = False
    """Train with the dropout of the base's config. By default there is none, because the rewards of two sides should
    not differ by chance."""
    states: Annotated[StatesPolicy, MEMORY] = StatesPolicy.FP32
    """How weights and AdamW's moments are kept: `fp32` (16 bytes per weight with its gradient), or in bf16 as
    `split_master` (10), `bf16_stochastic` (8) or `bf16_stochastic_8bit` (6)."""
    activation_checkpointing: Annotated[Literal["none", "full"], MEMORY] = "none"
    """`full` keeps only the input of each layer and computes the rest again: a third more compute, far less memory.
    `none` keeps everything."""
    micro_batch_tokens: Annotated[int | None, MEMORY] = Field(default=None, ge=1)
    """Largest number of tokens in one forward pass. It changes memory and speed, not the result. By default 8192, and
    2048 on the CPU, where longer passes take more memory and are no faster."""
    checkpoint_every: Annotated[int, CHECKPOINTS] = Field(default=500, ge=0)
    """Steps between checkpoints, from which a run can resume; 0 for none. They are removed at the end of the run."""
    keep_checkpoints: Annotated[int, CHECKPOINTS] = Field(default=2, ge=1)
    """How many of the latest checkpoints to keep."""
    resume: Annotated[bool, CHECKPOINTS] = False
    """Resume from the last checkpoint in `out`, if there is one."""
    overwrite: Annotated[bool, Flag(name="--overwrite", panel="Checkpoints and tracking")] = False
    """Replace a model or an unfinished run in `out`; without this, a folder that holds one is refused."""
    tracker: Annotated[Literal["tensorboard", "wandb", "trackio"] | None, CHECKPOINTS] = None
    """Experiment tracker for the figures of each step: `tensorboard` (into `out`), `wandb` or `trackio`. It must be
    installed."""
    peak_tflops: Annotated[float | None, MEMORY] = Field(default=None, gt=0)
    """Peak of one device in bf16, in 1e12 operations per second, to report the model's share of it; by default measured
    on CUDA."""
    device: Annotated[Literal["auto", "cpu", "cuda"], MEMORY] = "auto"
    """`auto` is CUDA if available, in bf16 over fp32 weights; else the CPU, in fp32."""

    @model_validator(mode="after")
    def _trains_adapters_over_4_bits(self) -> Self:
        if self.load_in_4bit and not self.lora_rank:
            raise ValueError("weights in 4 bits cannot be trained: also set lora_rank (--lora-rank 16)")
        return self

    @model_validator(mode="after")
    def _can_stop_early(self) -> Self:
        if self.patience and not self.evaluate_every:
            raise ValueError("patience counts evaluations during the run: also set evaluate_every")
        return self

    @model_validator(mode="after")
    def _fits_a_frozen_backbone(self) -> Self:
        if self.freeze == "none":
            if self.ridge is not None or self.features is not None:
                raise ValueError("ridge and features are for a frozen backbone: also set freeze (--freeze backbone)")
            return self
        plain = type(self)(base=self.base, out=self.out, lora_rank=self.lora_rank)
        unused = [n for n in type(self).model_fields if n not in _OF_FROZEN and getattr(self, n) != getattr(plain, n)]
        unused += ["lora_rank"] if self.lora_rank else []
        unused += ["center_rewards_coefficient"] if self.objective.center_rewards_coefficient else []
        unused += ["ranking"] if self.objective.ranking != "pairs" else []
        if unused:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
            raise ValueError(
                f"a frozen backbone has a head that is fitted in closed loop, without steps of gradient descent, and "
                f"does not use {flags}: leave them out, or train the backbone (--freeze none)"
            )
        return self

    def require_unfinished(self) -> None:
        """Refuse an output folder whose content would be lost.

        Raises:
            InvalidInputError: The folder is the base's; or it holds a model, without `overwrite`; or it holds an
                unfinished run, without `resume` or `overwrite`.
        """
        if self.base != SANDBOX and self.out.resolve() == Path(self.base).resolve():
            raise InvalidInputError(
                f"--out {self.out}: it is the folder of --base, which would be lost; choose another"
            )
        require_resumable(
            self.out,
            RECORD_FILE,
            ("config.json", *_WEIGHTS),
            f"{CHECKPOINT_FOLDER}/step-*.pt",
            resume=self.resume,
            overwrite=self.overwrite,
        )

    @property
    def keeps_seeds_together(self) -> bool:
        """Whether the pairs of a seed conversation go into one step."""
        return self.keep_seeds_together or self.objective.ranking == "groups"

    @model_validator(mode="before")
    @classmethod
    def _default_rate(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("learning_rate") is None:
            rate = TINY_RATE if data.get("base") == SANDBOX else LORA_RATE if data.get("lora_rank") else FULL_RATE
            return data | {"learning_rate": rate}
        return data
