"""Hooks on a classifier's layers during a forward pass: they read router logits and skip tokens without a reward."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.output_capturing import OutputRecorder

from music.errors import InvalidInputError
from music.reward.packing import PackedRow
from music.reward.scoring.rope import RopeLimits
from music_trainers.reward.config import RewardTrainingConfig

__all__ = ["RouterBalance", "skip_unread_tokens"]


@dataclass(slots=True)
class RouterBalance:
    """Balances the load of a mixture of experts: the auxiliary loss on its routers, as transformers computes it.

    Attributes:
        weight: Weight of the loss; 0 for none.
        top_k: Experts per token.
        balance: `load_balancing_loss_func` of the architecture.
    """

    weight: float
    top_k: int = 0
    balance: Callable[..., Tensor] | None = None
    _logits: list[Tensor] | None = field(default=None, init=False)

    @classmethod
    def of(cls, classifier: Any, config: RewardTrainingConfig) -> "RouterBalance":
        """Register hooks on a classifier's routers if the run, or else the base's config, asks for the loss.

        Raises:
            InvalidInputError: The classifier is not a mixture of experts whose routers transformers can record.
        """
        text: Any = classifier.config.get_text_config()
        asked = getattr(text, "router_aux_loss_coef", 0.0) if getattr(text, "output_router_logits", False) else 0.0
        weight = asked if config.aux_loss is None else config.aux_loss
        if not weight:
            return cls(0.0)
        decoder: Any = classifier.get_decoder()
        recorder = (getattr(decoder, "_can_record_outputs", None) or {}).get("router_logits")
        balance = getattr(sys.modules[type(decoder).__module__], "load_balancing_loss_func", None)
        if not isinstance(recorder, OutputRecorder) or balance is None:
            raise InvalidInputError(
                f"--aux-loss: expected a mixture of experts that transformers balances by a loss, got "
                f"{type(classifier).__name__}: leave the loss out (--aux-loss 0)"
            )
        routers = cls(weight, text.num_experts_per_tok, balance)
        for module in decoder.modules():
            if isinstance(module, recorder.target_class):
                module.register_forward_hook(partial(routers._read, recorder.index))
        return routers

    @contextmanager
    def reading(self) -> Iterator[list[Tensor]]:
        """Yield a list that collects the router logits `[tokens, experts]` of a forward pass, by layer."""
        logits: list[Tensor] = []
        self._logits = logits
        try:
            yield logits
        finally:
            self._logits = None  # layers that a backward pass computes again are not read again

    def loss(self, logits: Sequence[Tensor], num_tokens: int) -> Tensor | float:
        """Return the weighted loss of a row's first `num_tokens` tokens [Switch Transformers, equations 4 to 6]."""
        if self.balance is None:
            return 0.0
        rows = tuple(each.reshape(-1, each.shape[-1])[:num_tokens].float() for each in logits)
        return self.weight * self.balance(rows, rows[0].shape[-1], self.top_k)

    def _read(self, index: int, _module: Any, _inputs: Any, output: Any) -> None:
        if self._logits is not None:
            self._logits.append(output[index] if isinstance(output, tuple) else output)


@contextmanager
def skip_unread_tokens(classifier: PreTrainedModel, row: PackedRow) -> Iterator[None]:
    """Let the last layer's MLP skip the tokens of a row at which no reward is read, in forward and backward pass.

    Nothing attends to the output of the last layer, and an MLP maps each token by itself, so rewards and gradients are
    the same without the other tokens. This saves a fortieth of the work of a model of 30 layers, a tenth with 8 layers.

    A model is unchanged if that MLP has other parts than linear layers and activations, as experts have losses over all
    tokens, or if a row can take several passes (see `music.reward.scoring.rope`).
    """
    mlp = _last_mlp(classifier)
    if mlp is None or RopeLimits.of(classifier.config).boundary is not None:
        yield
        return
    places = torch.unique(row.reads()).to(classifier.device)
    shape = torch.Size()

    def select(mlp: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        nonlocal shape
        (hidden,) = arguments  # [1, num_tokens, hidden_size]
        shape = hidden.shape
        return (hidden[:, places],)

    def put_back(mlp: nn.Module, arguments: tuple[Tensor], output: Tensor) -> Tensor:
        return output.new_zeros(shape).index_copy(1, places, output)

    with mlp.register_forward_pre_hook(select), mlp.register_forward_hook(put_back):
        yield


def _last_mlp(classifier: PreTrainedModel) -> nn.Module | None:
    """Return the last layer's MLP, if the model has one that maps each token by itself."""
    backbone: Any = getattr(classifier, classifier.base_model_prefix)
    layers = getattr(backbone, "layers", None)
    mlp = getattr(layers[-1], "mlp", None) if isinstance(layers, nn.ModuleList) else None
    if not isinstance(mlp, nn.Module) or any(isinstance(module, nn.ModuleList) for module in mlp.modules()):
        return None
    with_weights = [module for module in mlp.modules() if next(module.parameters(recurse=False), None) is not None]
    return mlp if all(isinstance(module, nn.Linear) for module in with_weights) else None
