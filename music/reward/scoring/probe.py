"""A model as the self-test sees it: short sequences cross its window and rope boundary, and its head is a random one.

A boundary of 4,096 tokens would take minutes to cross on a CPU. Where a window or a boundary lies changes nothing about
whether code heeds it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.rope import RopeLimits

__all__ = ["LONGEST", "length_limit", "length_unit", "probed"]

LONGEST = 32
"""Units of the longest sequence."""
_WINDOW, _BOUNDARY = 8, 24
_CUDA_UNIT = 12


def length_unit(scorer: PackedScorer) -> int:
    """Return of how many tokens the self-test's unit of length is.

    On a GPU lengths are many times as large, as kernels work on blocks of 128 tokens.
    """
    wanted = _CUDA_UNIT if scorer.classifier.device.type == "cuda" else 1
    return max(1, min(wanted, length_limit(scorer) // LONGEST))


def length_limit(scorer: PackedScorer) -> int:
    """Return how many tokens the model can read."""
    return getattr(scorer.classifier.config.get_text_config(), "max_position_embeddings", None) or 1 << 20


@contextmanager
def probed(scorer: PackedScorer) -> Iterator[None]:
    """Narrow window and boundary, and put on a head by which no two tokens are alike."""
    classifier: Any = scorer.classifier
    config, head, rope, unit = classifier.config.get_text_config(), classifier.score, scorer.rope, length_unit(scorer)
    narrowed = [*_attributes(classifier, config, _WINDOW * unit), *_rope_entries(config, _BOUNDARY * unit)]
    try:
        for holder, name, _, new in narrowed:
            _set(holder, name, new)
        scorer.rope = RopeLimits.of(classifier.config)
        classifier.score = _probe(classifier)
        yield
    finally:
        for holder, name, old, _ in narrowed:
            _set(holder, name, old)
        scorer.rope, classifier.score = rope, head


_Change = tuple[Any, str, Any, Any]


def _attributes(classifier: nn.Module, config: Any, window: int) -> Iterator[_Change]:
    """Yield every holder of a window that is wider than this one."""
    for holder in (config, *classifier.modules()):
        own = getattr(holder, "sliding_window", None)
        if isinstance(own, int) and own > window:
            yield holder, "sliding_window", own, window


def _rope_entries(config: Any, boundary: int) -> Iterator[_Change]:
    """Yield every entry of the configuration that holds a later boundary of `longrope`."""
    name, parameters = "original_max_position_embeddings", getattr(config, "rope_parameters", None) or {}
    entries = [each for each in (parameters, *parameters.values()) if isinstance(each, dict)]
    entries = [each for each in entries if each.get("rope_type") == "longrope"]
    for each in entries:
        if each[name] > boundary:
            yield each, name, each[name], boundary
    # Phi-3's configuration has the boundary itself, too, and transformers writes it over the entries as it goes.
    if entries and (getattr(config, name, None) or 0) > boundary:
        yield config, name, getattr(config, name), boundary


def _set(holder: Any, name: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[name] = value
    else:
        setattr(holder, name, value)


def _probe(classifier: Any) -> nn.Linear:
    size = classifier.config.get_text_config().hidden_size
    with torch.random.fork_rng(devices=[]):  # a layer is made with random weights
        torch.manual_seed(1)
        head = nn.Linear(size, 1, bias=False)
        nn.init.normal_(head.weight, std=size**-0.5)
    head.to(classifier.device)
    return head
