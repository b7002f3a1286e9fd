from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "num_labels": 1,
    "pad_token_id": 0,
}
EXPERTS: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "mlp_only_layers": [0]},
}


@pytest.fixture(scope="session")
def make_classifier() -> Callable[..., PreTrainedModel]:
    """Return a maker of small random classifiers, the same for the same family; a size of None is left out."""

    def make(family: str, **changes: Any) -> PreTrainedModel:
        torch.manual_seed(0)
        sizes = {name: size for name, size in (SIZES | changes).items() if size is not None}
        config = AutoConfig.for_model(family, **EXPERTS.get(family, {}) | sizes)
        classifier: PreTrainedModel = AutoModelForSequenceClassification.from_config(
            config, attn_implementation="eager"
        )
        return classifier

    return make
