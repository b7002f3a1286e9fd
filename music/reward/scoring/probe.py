"""How far packed scores of a model are from those of its own forward passes, on a few random sequences.

During the measurement the model's window and rope boundary are narrowed, so that short sequences cross them. To cross a
boundary of 4,096 tokens would take minutes on a CPU, and code that respects a narrow window or boundary respects a wide
one. The head is random, so that no two tokens have the same score.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from music.reward.packing import TokenSequence
from music.reward.scoring.cached_scorer import make_sequence_scorer
from music.reward.scoring.forward import PackedScorer
from music.reward.scoring.rope import RopeLimits

__all__ = ["measure_errors"]

_WINDOW, _BOUNDARY = 8, 24
_SHARED, _OTHER, _CUT = 16, 20, 10
_OWN = (6, 16)
"""Lengths in units. Two sequences share `_SHARED` and end with one of `_OWN` each. The third has `_OTHER`.
`_CUT` is the length of the first beginning that the model reads by itself."""
_LONGEST = 32
"""Length of the longest sequence in units."""
_CUDA_UNIT = 12
"""Number of tokens in a unit on a GPU, where kernels work on blocks of 128 tokens. On a CPU it is 1."""


@torch.no_grad()
def measure_errors(scorer: PackedScorer) -> dict[str, float]:
    """Return how far scores are from those of the model's own forward passes.

    An error is the largest over the sequences of the median over the last third of a sequence's tokens. It is the
    median because a mixture of experts in bf16 may route single tokens differently.

    Returns:
        Errors as shares of the scores' standard deviation: with each sequence `alone` in a row, with all `packed` into
        one row, and with a prefix cache (`cached`).
    """
    was_training = scorer.training
    scorer.eval()
    try:
        with _probed(scorer):
            sequences = _sequences(scorer)
            plain = _plain(scorer, sequences)
            spread = float(torch.cat(plain).std())
            found = {
                "alone": list(chain.from_iterable(_scored(scorer, [[each]]) for each in sequences)),
                "packed": _scored(scorer, [sequences]),
                "cached": _scored(scorer, [[each] for each in sequences], max_cached_tokens=1 << 20),
            }
    finally:
        scorer.train(was_training)
    return {what: _worst(scores, plain) / max(spread, 1e-30) for what, scores in found.items()}


def _worst(scores: Sequence[Tensor], plain: Sequence[Tensor]) -> float:
    return max(
        float((own - right)[-len(right) // 3 :].abs().median()) for own, right in zip(scores, plain, strict=True)
    )


def _scored(scorer: PackedScorer, batches: Iterable[Sequence[Tensor]], max_cached_tokens: int = 0) -> list[Tensor]:
    """Return the rewards at all tokens of sequences, scored batch by batch."""
    sequences = make_sequence_scorer(scorer, max_cached_tokens)
    batch_rewards = (
        sequences.rewards([TokenSequence(each.tolist(), tuple(range(len(each)))) for each in batch])
        for batch in batches
    )
    return [torch.tensor(rewards) for rewards in chain.from_iterable(batch_rewards)]


def _plain(scorer: PackedScorer, sequences: Sequence[Tensor]) -> list[Tensor]:
    """Return the rewards at all tokens by the model's own forward passes over the sequences and their beginnings."""
    classifier: Any = scorer.classifier
    backbone = getattr(classifier, classifier.base_model_prefix)
    rewards = []
    classifier.set_attn_implementation("eager")
    try:
        for ids in sequences:
            spans = []
            for start, stop in _cuts(scorer, len(ids)):
                output = backbone(input_ids=ids[None, :stop].to(classifier.device), use_cache=False)
                spans.append(scorer.head(output.last_hidden_state[0])[start:].cpu())
            rewards.append(torch.cat(spans))
    finally:
        scorer.use(scorer.backend)
    return rewards


def _cuts(scorer: PackedScorer, length: int) -> list[tuple[int, int]]:
    """Return the spans of tokens whose rewards are read from one beginning each, up to the end of the span."""
    unit, boundary = _unit(scorer), scorer.rope.boundary
    stops = sorted({stop for stop in (_CUT * unit, boundary, length) if stop is not None and stop <= length})
    return list(zip([0, *stops], stops, strict=False))


def _sequences(scorer: PackedScorer) -> list[Tensor]:
    """Return three sequences of random token ids, two of which begin alike."""
    classifier: Any = scorer.classifier
    generator, unit = torch.Generator().manual_seed(0), _unit(scorer)
    num_tokens = len(classifier.get_input_embeddings().weight)

    def draw(length: int) -> Tensor:
        return torch.randint(num_tokens, (length * unit,), generator=generator)

    shared = draw(_SHARED)
    limit = _length_limit(scorer)
    return [ids[:limit] for ids in (*(torch.cat([shared, draw(own)]) for own in _OWN), draw(_OTHER))]


def _unit(scorer: PackedScorer) -> int:
    """Return the number of tokens in a unit of length."""
    wanted = _CUDA_UNIT if scorer.classifier.device.type == "cuda" else 1
    return max(1, min(wanted, _length_limit(scorer) // _LONGEST))


def _length_limit(scorer: PackedScorer) -> int:
    """Return the most tokens that the model can read."""
    return getattr(scorer.classifier.config.get_text_config(), "max_position_embeddings", None) or 1 << 20


@contextmanager
def _probed(scorer: PackedScorer) -> Iterator[None]:
    """Narrow the model's window and rope boundary and attach a random head, within a context."""
    classifier: Any = scorer.classifier
    config, head, rope, unit = classifier.config.get_text_config(), classifier.score, scorer.rope, _unit(scorer)
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
    """Yield the change of every attribute that holds a wider window."""
    for holder in (config, *classifier.modules()):
        own = getattr(holder, "sliding_window", None)
        if isinstance(own, int) and own > window:
            yield holder, "sliding_window", own, window


def _rope_entries(config: Any, boundary: int) -> Iterator[_Change]:
    """Yield the change of every entry of the configuration that holds a later boundary of `longrope`."""
    name, parameters = "original_max_position_embeddings", getattr(config, "rope_parameters", None) or {}
    entries = [each for each in (parameters, *parameters.values()) if isinstance(each, dict)]
    entries = [each for each in entries if each.get("rope_type") == "longrope"]
    for each in entries:
        if each[name] > boundary:
            yield each, name, each[name], boundary
    # Phi-3's configuration also has the boundary as an attribute, which transformers copies over the entries.
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
