"""Which weights of a classifier are trained: all, or LoRA adapters with the head, over a base that may be in 4 bits.

Adapters and head are fp32 whatever the frozen weights are. An adapter's part of a weight is mostly smaller than half a
step of bf16, so a sum rounded to bf16 would lose it: what is merged is fp32 too. With QLoRA (NF4 by bitsandbytes), that
is the sum of the adapters and the quantised weights: what was trained and measured.
"""

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from transformers import PreTrainedModel

from music.errors import InvalidInputError
from music.reward.loading import count_text
from music_trainers.reward.config import LORA_RATE, RewardTrainingConfig

__all__ = ["add_adapters", "make_trainable", "merge_adapters", "quantise", "require_fitting_rate"]

LARGE_RATE = LORA_RATE
"""The lowest rate at which LoRA is usually trained; full fine-tuning of billions of weights takes a fiftieth of it."""
SMALL_MODEL = 100_000_000
"""Parameters up to which any rate passes: models of this size are often trained from scratch, at 1e-4 to 3e-3."""


def require_fitting_rate(config: RewardTrainingConfig, classifier: PreTrainedModel) -> None:
    """Refuse to fine-tune a large model in full at a rate that is meant for adapters.

    Raises:
        InvalidInputError: The rate is `LARGE_RATE` or above and the model larger than `SMALL_MODEL`.
    """
    is_small = classifier.num_parameters() <= SMALL_MODEL
    if config.learning_rate >= LARGE_RATE and not (config.lora_rank or config.allow_large_rate or is_small):
        raise InvalidInputError(
            f"learning rate {config.learning_rate:g}: expected less than {LARGE_RATE:g} for full fine-tuning of a "
            f"model of more than {SMALL_MODEL // 1_000_000}M parameters (this one has {count_text(classifier)}), as "
            "larger ones unlearn what the model knows. Take about 2e-6, train adapters (--lora-rank), or insist "
            "(--allow-large-rate)"
        )


def make_trainable(classifier: PreTrainedModel, config: RewardTrainingConfig) -> Any:
    """Prepare a classifier for training, in place: adapters, dropout, activation checkpointing.

    Returns:
        peft's model of the adapters with LoRA, else None.
    """
    if not config.dropout:
        _disable_dropout(classifier)
    adapters = add_adapters(classifier, config.lora_rank, config.lora_alpha) if config.lora_rank else None
    if config.activation_checkpointing == "full":
        enable: Any = classifier.gradient_checkpointing_enable
        enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return adapters


def _disable_dropout(classifier: PreTrainedModel) -> None:
    """Set every probability of dropping something to 0: `nn.Dropout`, numbers in layers, and those in configs.

    Most layers take a number from the config when they are made, some when they run. The base's config is saved from a
    copy.
    """
    for module in classifier.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    config = classifier.config
    for holder in (*classifier.modules(), config, config.get_text_config()):
        for name, value in vars(holder).items():
            if "drop" in name and isinstance(value, float):
                setattr(holder, name, 0.0)


def add_adapters(classifier: PreTrainedModel, rank: int, alpha: int | None) -> Any:
    """Put LoRA adapters on all linear layers of a classifier; only they and the score head are trained then.

    Args:
        classifier: Changed in place.
        rank: Of the adapters.
        alpha: Their scale; twice the rank if None.

    Returns:
        peft's model of the adapters, for `merge_adapters`.

    Raises:
        InvalidInputError: peft is not installed.
    """
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as error:
        raise InvalidInputError("LoRA needs peft: pip install 'music-rm[peft]'") from error
    settings = LoraConfig(
        r=rank,
        lora_alpha=alpha or 2 * rank,
        target_modules="all-linear",
        exclude_modules=["score"],
        task_type="SEQ_CLS",
    )
    adapters = LoraModel(classifier, {"default": settings}, "default")
    head: Any = classifier.score
    head.requires_grad_(True)
    for weight in classifier.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return adapters


def merge_adapters(adapters: Any) -> PreTrainedModel:
    """Return the classifier on the CPU in fp32, with what the adapters learned added to its weights."""
    dequantised = _dequantised_layers(adapters.model)
    adapters.model.to("cpu", torch.float32)
    classifier: PreTrainedModel = adapters.merge_and_unload()
    for name, layer in dequantised.items():
        classifier.set_submodule(name, layer)
    return classifier


def quantise(classifier: Any, accelerator: Accelerator) -> None:
    """Keep the linear layers of a classifier's backbone in 4 bits, on each process's device; all must call it.

    Raises:
        InvalidInputError: bitsandbytes is not installed.
    """
    try:
        from bitsandbytes.nn.modules import Linear4bit, Params4bit
    except ImportError as error:
        raise InvalidInputError("--load-in-4bit needs bitsandbytes: pip install 'music-rm[qlora]'") from error
    computes_in = torch.bfloat16 if accelerator.mixed_precision == "bf16" else classifier.dtype
    linear = [(name, layer) for name, layer in classifier.named_modules() if type(layer) is nn.Linear]
    for name, layer in linear:
        if name == "score":
            continue
        sizes = layer.in_features, layer.out_features
        weights = {key: _of_main_process(value, accelerator) for key, value in layer.state_dict().items()}
        make: Any = Linear4bit
        quantised = make(*sizes, bias=False, compute_dtype=computes_in, device="meta")
        quantised.weight = Params4bit(weights["weight"], requires_grad=False, quant_type="nf4")
        quantised.bias = nn.Parameter(weights["bias"]) if "bias" in weights else None
        # On some CPUs, weights would be packed for a faster kernel where no gradient is computed. That fails for layers
        # with fewer than 32 outputs, and packed weights cannot be merged.
        quantised.support_avx512bf16_for_cpu = False
        classifier.set_submodule(name, quantised.to(accelerator.device))
    classifier.is_loaded_in_4bit = True  # where peft looks


def _of_main_process(weight: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the main process's weight: the others have none yet, and quantised ones could not be sent."""
    if accelerator.num_processes == 1:
        return weight
    sent: Tensor = broadcast(weight.to(accelerator.device))
    return sent.cpu()


def _dequantised_layers(classifier: PreTrainedModel) -> dict[str, nn.Linear]:
    """Return, for each adapted layer in 4 bits, one in fp32 that computes the same."""
    from peft.tuners.lora.layer import LoraLayer

    found = {}
    for name, module in classifier.named_modules():
        if isinstance(module, LoraLayer) and hasattr(base := module.get_base_layer(), "quant_state"):
            found[name] = _dequantised(base, module.get_delta_weight("default"))  # type: ignore[attr-defined]
    return found


def _dequantised(base: Any, delta: Tensor) -> nn.Linear:
    from bitsandbytes.functional import dequantize_4bit

    layer = nn.Linear(base.in_features, base.out_features, base.bias is not None, device="meta")
    weight = dequantize_4bit(base.weight.data, base.weight.quant_state).float() + delta.float()
    layer.weight = nn.Parameter(weight.cpu())
    if base.bias is not None:
        layer.bias = nn.Parameter(base.bias.detach().float().cpu())
    return layer
