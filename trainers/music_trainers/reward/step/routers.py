"""Load balancing of a mixture of experts: the auxiliary loss on its routers, as transformers computes it."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers.utils.output_capturing import OutputRecorder

from music.errors import InvalidInputError
from music_trainers.reward.config import RewardTrainingConfig

__all__ = ["RouterBalance"]


@dataclass(slots=True)
class RouterBalance:
    """Reads the logits of a classifier's routers while it computes.

    Attributes:
        weight: Of the loss; 0 for none.
        top_k: Experts per token.
        balance: `load_balancing_loss_func` of the architecture.
    """

    weight: float
    top_k: int = 0
    balance: Callable[..., Tensor] | None = None
    _logits: list[Tensor] | None = field(default=None, init=False)

    @classmethod
    def of(cls, classifier: Any, config: RewardTrainingConfig) -> "RouterBalance":
        """Watch a classifier's routers, if the run or else the base's config asks for the loss.

        Raises:
            InvalidInputError: The run does, and the classifier is no mixture of experts that shows its routers.
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
                module.register_forward_hook(routers._reader(recorder.index))
        return routers

    @contextmanager
    def reading(self) -> Iterator[list[Tensor]]:
        """Yield the list of logits `[tokens, experts]` that the routers of a forward pass within give, by layer."""
        logits: list[Tensor] = []
        self._logits = logits
        try:
            yield logits
        finally:
            self._logits = None  # layers that are computed again in a backward pass are not read again

    def loss(self, logits: Sequence[Tensor], num_tokens: int) -> Tensor | float:
        """Return the weighted loss of a row's first `num_tokens` tokens [Switch Transformers, equations 4 to 6]."""
        if self.balance is None:
            return 0.0
        rows = tuple(each.reshape(-1, each.shape[-1])[:num_tokens].float() for each in logits)
        return self.weight * self.balance(rows, rows[0].shape[-1], self.top_k)

    def _reader(self, index: int) -> Any:
        def read(_module: Any, _inputs: Any, output: Any) -> None:
            if self._logits is not None:
                self._logits.append(output[index] if isinstance(output, tuple) else output)

        return read
