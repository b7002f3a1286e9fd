from types import SimpleNamespace

import pytest
import torch

from music.errors import InvalidInputError
from music.reward.loading import load_checkpoint
from music_trainers.reward import load_once as module
from music_trainers.reward.load_once import load_once


@pytest.fixture
def sent(monkeypatch):
    """Return what the main process sends, which the others then get."""
    messages = []

    def broadcast(message):
        if message != [None]:
            messages[:] = message
        return list(messages)

    monkeypatch.setattr(module, "broadcast_object_list", broadcast)
    return messages


def process(index, num_processes=2):
    return SimpleNamespace(num_processes=num_processes, is_main_process=index == 0)


def never():
    raise AssertionError("only the main process loads")


def test_other_processes_get_all_but_the_weights(sent, reward_checkpoint):
    base = reward_checkpoint("gemma2")
    first = load_once(process(0), lambda: load_checkpoint(base, dtype=torch.float32))
    second = load_once(process(1), never)
    num_bytes = sum(weight.numel() * weight.element_size() for weight in first.classifier.parameters())
    buffers = first.classifier.state_dict()
    assert second.tokens.contract == first.tokens.contract
    assert second.classifier.config.to_dict() == first.classifier.config.to_dict()
    shapes = [(name, weight.shape, weight.dtype) for name, weight in first.classifier.named_parameters()]
    assert [(name, weight.shape, weight.dtype) for name, weight in second.classifier.named_parameters()] == shapes
    theirs = dict(second.classifier.named_buffers())
    assert all(torch.equal(buffer, theirs[name]) for name, buffer in first.classifier.named_buffers())
    second.classifier.load_state_dict(buffers)
    ids = torch.arange(5, 25)[None]
    assert torch.equal(first.classifier(ids).logits, second.classifier(ids).logits)
    grown = load_checkpoint(base, dtype=torch.float32)
    grown.classifier.model.embed_tokens.weight = torch.nn.Parameter(torch.zeros(100_000, 32))
    size = len(sent[0])
    load_once(process(0), lambda: grown)
    assert len(sent[0]) < size + 1000, f"weights ({num_bytes} bytes) were sent"


def test_every_process_raises_what_the_main_one_met(sent):
    def fail():
        raise InvalidInputError("no such base")

    for index, load in ((0, fail), (1, never)):
        with pytest.raises(InvalidInputError, match="no such base"):
            load_once(process(index), load)


def test_a_single_process_just_loads():
    assert load_once(process(0, num_processes=1), lambda: 3) == 3
