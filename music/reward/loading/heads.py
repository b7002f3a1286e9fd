"""Reward heads: where a checkpoint stores one, whether it is linear, and how its trainer normalises it.

TRL and transformers call the head `score`, OpenRLHF `score` or `value_head`, DeepSpeed-Chat and InternLM `v_head`, and
TRL's models with a value head `v_head.summary`. All are `weight . hidden + bias` at one token, and become a head called
`score`. Any other head needs code that is not in the weights. It is refused with a message that describes it.
"""

import logging
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from music.errors import InvalidInputError
from music.reward.loading.weights import Weights, listed

__all__ = ["Head", "init_head", "put_head", "take_head"]

logger = logging.getLogger(__name__)

_LINEAR = ("score", "value_head", "v_head.summary", "v_head")
_HEADS = re.compile(
    r"^(score|value_head|v_head|score_head|reward_head|rm_head|regression_head|regression_layer|gating|weights_layer|"
    r"reward_transform_matrix)(\.|$)"
)
_OBJECTIVES = ("gating", "regression_layer", "weights_layer", "reward_transform_matrix")
_STATISTICS = ("mean", "std")
_ELSEWHERE = (
    "Only a linear head with one output, called score, value_head or v_head, can be read from weights alone. Serve "
    "the model with the code it was trained with, and name it as MODEL@BASE_URL"
)


@dataclass(frozen=True, slots=True)
class Head:
    """A linear reward head, `weight . hidden + bias`.

    Attributes:
        weight: `[1, hidden_size]` in fp64.
        bias: `[1]` in fp64, or None.
    """

    weight: Tensor
    bias: Tensor | None


def take_head(path: str, weights: dict[str, Any], config: Any) -> Head | None:
    """Remove a checkpoint's reward head from its weights and return it; None for a language model, which has none.

    OpenRLHF saves mean and standard deviation of rewards with a model, and scores `(reward - mean) / std` if the
    configuration sets `normalize_reward`. Weight and bias of the result include this, in fp64.

    Args:
        path: The checkpoint's name in errors.
        weights: All of its weights. Those of the head are removed.
        config: Its configuration. Settings of the head and of normalisation are changed to match the result.

    Raises:
        InvalidInputError: The head is not linear with one output.
    """
    names = [name for name in weights if _HEADS.match(name)]
    statistics = _take_statistics(path, weights, config)
    if not names:
        return None
    head = next((each for each in _LINEAR if set(names) <= {f"{each}.weight", f"{each}.bias"}), None)
    if head is None or f"{head}.weight" not in weights:
        raise InvalidInputError(f"{path}: it has {_kind(weights, names)}. {_ELSEWHERE}")
    weight, bias = _number(weights.pop(f"{head}.weight")), weights.pop(f"{head}.bias", None)
    if weight.dim() != 2 or weight.shape[0] != 1:
        raise InvalidInputError(f"{path}: expected one reward, got a head {head} with {weight.shape[0]} labels")
    if head != "score":
        logger.warning("%s: its head %s is taken as the reward head", path, head)
    bias = None if bias is None else _number(bias)
    if statistics is None:
        return Head(weight, bias)
    mean, std = statistics
    return Head(weight / std, ((0 if bias is None else bias) - mean) / std)


def put_head(path: str, classifier: Any, head: Head) -> None:
    """Give a classifier this head, in its own dtype.

    Raises:
        InvalidInputError: The head is for another hidden size.
    """
    old = classifier.score.weight
    if head.weight.shape != old.shape:
        raise InvalidInputError(
            f"{path}: expected a head of {old.shape[1]} weights, as the hidden size, got {head.weight.shape[1]}"
        )
    new = nn.Linear(old.shape[1], 1, bias=head.bias is not None, dtype=old.dtype, device=old.device)
    new.weight.data.copy_(head.weight)
    if head.bias is not None:
        new.bias.data.copy_(head.bias)
        logger.warning("%s: its head has a bias, which vanilla transformers would leave out of every score", path)
    classifier.score = new


def init_head(classifier: Any, seed: int | None) -> None:
    """Draw the head from N(0, 1/(hidden size + 1)): small enough that the first rewards hardly differ."""
    generator = torch.Generator().manual_seed(seed or 0)
    weight = classifier.score.weight
    std = 1 / (weight.shape[1] + 1)
    weight.data = (torch.randn(weight.shape, generator=generator) * std).to(weight.dtype)


def _take_statistics(path: str, weights: dict[str, Any], config: Any) -> tuple[Tensor, Tensor] | None:
    """Return OpenRLHF's mean and standard deviation of rewards, if OpenRLHF would apply them."""
    stored = {name: _number(weights.pop(name)) for name in _STATISTICS if name in weights}
    named = {name: getattr(config, name, None) for name in _STATISTICS}
    known = {n: torch.tensor(float(v), dtype=torch.float64) for n, v in named.items() if isinstance(v, int | float)}
    statistics = known | stored
    applies = bool(getattr(config, "normalize_reward", False))
    for name in _STATISTICS:
        if hasattr(config, name):
            delattr(config, name)
    if hasattr(config, "normalize_reward"):
        config.normalize_reward = False
    if hasattr(config, "value_head_prefix"):
        config.value_head_prefix = "score"
    if not statistics or not applies:
        if statistics:
            logger.warning("%s: mean and std of its rewards are not applied: normalize_reward is not set", path)
        return None
    if len(statistics) != len(_STATISTICS) or not float(statistics["std"].reshape(-1)[0]) > 0:
        raise InvalidInputError(f"{path}: expected mean and std > 0 to normalise rewards, got {', '.join(statistics)}")
    logger.warning("%s: its rewards are normalised by its mean and std, which become part of the head", path)
    return statistics["mean"].reshape(1), statistics["std"].reshape(1)


def _kind(weights: Weights, names: list[str]) -> str:
    """Describe a head that cannot be read from weights alone."""
    modules = sorted({name.rpartition(".")[0] or name for name in names})
    roots = {name.partition(".")[0] for name in names}
    if roots.intersection(_OBJECTIVES):
        shape = next((weights[n].get_shape() for n in names if n.startswith("regression_layer.weight")), None)
        return f"a head of {shape[0] if shape else 'several'} objectives ({listed(modules)})"
    linear = [each for each in _LINEAR if f"{each}.weight" in weights]
    if len(roots) > 1:
        return f"several heads ({listed(modules)})"
    if len(modules) > 1 and not linear:
        return f"an MLP head ({listed(modules)})"
    return f"a head with the weights {listed(names)}"


def _number(tensor: Any) -> Tensor:
    read: Tensor = tensor if isinstance(tensor, Tensor) else tensor[...]
    return read.double()
