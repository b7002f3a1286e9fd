import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from music.reward.encoded import EncodedConversation
from music.reward.packing import TokenSequence
from music.reward.tokens.contract import Scored
from music.serving.served_model import ServedModel


@pytest.fixture(scope="session")
def checkpoint(reward_checkpoint: Callable[..., Path]) -> Path:
    """Return a small reward model."""
    return reward_checkpoint()


class SumModel:
    """A model that scores a conversation by the sum of its tokens. It waits while its gate is closed.

    Attributes:
        batches: The tokens of each conversation, by batch; also of batches that failed.
        gate: Whether a batch may be computed.
        fault: Raises an error for some batches.
    """

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.contract = SimpleNamespace(reference=None, readout="last")
        self.num_computed_tokens = self.max_cached_tokens = 0
        self.batches: list[list[tuple[int, ...]]] = []
        self.gate, self.is_waiting = threading.Event(), threading.Event()
        self.gate.set()
        self.fault: Callable[[list[tuple[int, ...]]], None] = lambda _: None

    def score_encoded(self, encoded: Sequence[EncodedConversation]) -> list[Scored]:
        batch = [tuple(each.sequences[0].ids) for each in encoded]
        self.is_waiting.set()
        assert self.gate.wait(60)
        self.batches.append(batch)
        self.fault(batch)
        self.num_computed_tokens += sum(map(len, batch))
        return [Scored(float(sum(ids))) for ids in batch]


@pytest.fixture
def make_sum_model() -> Callable[[], Any]:
    """Return a maker of models that the tests control, as they are served."""
    return lambda: ServedModel("sum", SumModel(), "sum", False)


@pytest.fixture
def encode() -> Callable[..., Callable[[Any], list[EncodedConversation]]]:
    """Return what makes requests of token ids."""

    def of(*conversations: Sequence[int]) -> Callable[[Any], list[EncodedConversation]]:
        return lambda _: [EncodedConversation((TokenSequence(list(ids), (len(ids) - 1,)),)) for ids in conversations]

    return of
