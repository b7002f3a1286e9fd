"""Which weights of a classifier are trained: all, or LoRA adapters and the head over a base that may be in 4 bits.

Adapters and head are always fp32. An adapter mostly changes a weight by less than half a step of bf16, so rounding the
sum to bf16 would lose the change: merged weights are fp32 too. With QLoRA (NF4 by bitsandbytes) they are the sum of the
adapters and the quantised weights, which is what was trained and measured.
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
"""The lowest usual rate for LoRA; full fine-tuning of billions of weights takes a fiftieth of it."""
SMALL_MODEL = 100_000_000
"""Models of up to this many parameters may have any rate: they are often trained from scratch, at 1e-4 to 3e-3."""


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
            "larger rates destroy what the model knows. Use about 2e-6, train adapters (--lora-rank), or allow it "
            "(--allow-large-rate)"
        )


def make_trainable(classifier: PreTrainedModel, config: RewardTrainingConfig) -> Any:
    """Prepare a classifier for training, in place: adapters, dropout, activation checkpointing.

    Returns:
        peft's model of the adapters; None without LoRA.
    """
    if not config.dropout:
        _disable_dropout(classifier)
    adapters = add_adapters(classifier, config.lora_rank, config.lora_alpha) if config.lora_rank else None
    if config.activation_checkpointing == "full":
        enable: Any = classifier.gradient_checkpointing_enable
        enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return adapters


def _disable_dropout(classifier: PreTrainedModel) -> None:
    """Set every dropout probability to 0: in `nn.Dropout`, in other layers and in configs.

    Most layers read the config when they are created, some when they run. The saved config is a copy that was made
    before.
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
    """Put LoRA adapters on all linear layers of a classifier; then only they and the score head are trained.

    Args:
        classifier: The classifier, which is changed in place.
        rank: Rank of the adapters.
        alpha: Scale of the adapters; twice the rank if None.

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
    """Return the classifier on the CPU in fp32, with the adapters added to its weights."""
    dequantised = _dequantised_layers(adapters.model)
    adapters.model.to("cpu", torch.float32)
    classifier: PreTrainedModel = adapters.merge_and_unload()
    for name, layer in dequantised.items():
        classifier.set_submodule(name, layer)
    return classifier


def quantise(classifier: Any, accelerator: Accelerator) -> None:
    """Quantise the linear layers of a classifier's backbone to 4 bits; every process must call it.

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
        # On some CPUs, bitsandbytes packs weights for a faster kernel when no gradient is computed. That fails for
        # layers with fewer than 32 outputs, and packed weights cannot be merged.
        quantised.support_avx512bf16_for_cpu = False
        classifier.set_submodule(name, quantised.to(accelerator.device))
    classifier.is_loaded_in_4bit = True  # where peft looks


def _of_main_process(weight: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the main process's weight: the others have none yet, and quantised weights cannot be sent."""
    if accelerator.num_processes == 1:
        return weight
    sent: Tensor = broadcast(weight.to(accelerator.device))
    return sent.cpu()


def _dequantised_layers(classifier: PreTrainedModel) -> dict[str, nn.Linear]:
    """Return for each adapted layer in 4 bits an fp32 layer that computes the same."""
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
