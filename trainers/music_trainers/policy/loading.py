"""`LoadedPolicy`: the model to train, its tokenizer, its chat template and how much it can read."""

from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.utils import add_fused_lm_head

from music.errors import InvalidInputError
from music.names import find_model
from music.quiet import quiet_transformers
from music_trainers.policy.chat_tokens import ChatTokens
from music_trainers.policy.config import PolicyTrainingConfig
from music_trainers.policy.likelihood import WithoutAdapters

__all__ = ["LoadedPolicy"]


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy that is ready to be trained.

    Attributes:
        name: Folder or hub id.
        model: The model, or peft's model of it with LoRA.
        tokenizer: Its tokenizer.
        tokens: Its chat template.
        max_length: Most tokens that it can read; None if its config does not tell.
        is_adapted: Whether adapters are trained.
    """

    name: str
    model: Any
    tokenizer: Any
    tokens: ChatTokens
    max_length: int | None
    is_adapted: bool

    @classmethod
    def load(cls, config: PolicyTrainingConfig) -> "LoadedPolicy":
        """Load the policy of a run.

        Raises:
            InvalidInputError: There is no such model, or it is not a chat model, or peft is missing.
        """
        name = config.policy
        tokenizer, model = _load(name)
        if not tokenizer.chat_template:
            raise InvalidInputError(f"{name}: expected a chat model, but its tokenizer has no chat template")
        ends = model.generation_config.eos_token_id
        ends = [] if ends is None else [ends] if isinstance(ends, int) else ends
        max_length = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if config.lora_rank:
            model = _with_adapters(model, config)
        return cls(name, model, tokenizer, ChatTokens(tokenizer, ends), max_length, config.lora_rank > 0)

    def starting_policy(self, reference: Any) -> Any:
        """Return the policy before training, for comparisons.

        Args:
            reference: The trainer's own copy; None if it has none. There is never a second one.
        """
        if self.is_adapted:
            return WithoutAdapters(self.model)
        if reference is not None:
            return reference
        _, start = _load(self.name)
        add_fused_lm_head(start)
        return start.eval()

    def merged(self) -> Any:
        """Return the model without adapters of its own: they are merged into its weights."""
        return self.model.merge_and_unload() if self.is_adapted else self.model


def _load(name: str) -> tuple[Any, Any]:
    """Load a tokenizer and a model onto its device, in fp32."""
    path = find_model(name, "language_model")
    try:
        with quiet_transformers():
            tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            model: Any = AutoModelForCausalLM.from_pretrained(
                path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
            )
    except (OSError, ValueError, SafetensorError) as error:
        why = str(error).partition("\n")[0]
        raise InvalidInputError(f"{name}: expected a causal language model (safetensors): {why}") from error
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    return tokenizer, model


def _with_adapters(model: Any, config: PolicyTrainingConfig) -> Any:
    """Return peft's model with LoRA adapters on all linear layers; only they are trained."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise InvalidInputError("LoRA needs peft: pip install 'music-rm[peft]'") from error
    torch.manual_seed(config.seed)  # of the adapters' first matrices
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha or 2 * config.lora_rank,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    with quiet_transformers():
        return get_peft_model(model, settings)
