"""QLoRA: a base whose linear layers are kept in 4 bits (NF4) by bitsandbytes, while adapters over it are trained.

What is saved is what was trained and measured, in fp32: the sum of adapters and quantised weights.
"""

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn
from transformers import PreTrainedModel

from music.errors import InvalidInputError

__all__ = ["quantise", "whole_layers"]


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
        classifier.set_submodule(name, quantised.to(accelerator.device))
    classifier.is_loaded_in_4bit = True  # where peft looks


def _of_main_process(weight: Tensor, accelerator: Accelerator) -> Tensor:
    """Return the main process's weight: the others have none yet, and quantised ones could not be sent."""
    if accelerator.num_processes == 1:
        return weight
    sent: Tensor = broadcast(weight.to(accelerator.device))
    return sent.cpu()


def whole_layers(classifier: PreTrainedModel) -> dict[str, nn.Linear]:
    """Return, in place of each adapted layer in 4 bits, one in fp32 that computes the same."""
    from peft.tuners.lora.layer import LoraLayer

    found = {}
    for name, module in classifier.named_modules():
        if isinstance(module, LoraLayer) and hasattr(base := module.get_base_layer(), "quant_state"):
            found[name] = _whole(base, module.get_delta_weight("default"))  # type: ignore[attr-defined]
    return found


def _whole(base: Any, delta: Tensor) -> nn.Linear:
    from bitsandbytes.functional import dequantize_4bit

    layer = nn.Linear(base.in_features, base.out_features, base.bias is not None, device="meta")
    weight = dequantize_4bit(base.weight.data, base.weight.quant_state).float() + delta.float()
    layer.weight = nn.Parameter(weight.cpu())
    if base.bias is not None:
        layer.bias = nn.Parameter(base.bias.detach().float().cpu())
    return layer
