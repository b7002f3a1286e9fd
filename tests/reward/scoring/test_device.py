import pytest
import torch

from music.errors import InvalidInputError
from music.reward import RewardModel
from music.reward.scoring.device import ensure_usable, resolve_device
from music.sandbox.artifacts import REWARD_MODEL

CPU = torch.device("cpu")


@pytest.fixture
def forked(monkeypatch):
    """What torch reports in a process that was forked after its parent had initialised CUDA."""
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.mark.parametrize("available", [True, False])
def test_without_a_name_it_is_cuda_where_there_is_one(available, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device() == torch.device("cuda" if available else "cpu")
    assert resolve_device("cpu") == CPU


def test_devices_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InvalidInputError, match="'cuda' was asked for, but torch finds no CUDA device here"):
        resolve_device("cuda")
    with pytest.raises(InvalidInputError, match="a device such as cpu or cuda, got 'gpu'"):
        resolve_device("gpu")


@pytest.mark.parametrize("name", [None, "cuda", "cuda:0"])
def test_a_forked_process_is_told_to_spawn_and_never_put_on_the_cpu_in_silence(forked, name):
    with pytest.raises(InvalidInputError, match=r"forked after its parent had initialised CUDA.*'spawn'"):
        resolve_device(name)
    with pytest.raises(InvalidInputError, match="load the model in the child"):
        RewardModel.from_pretrained(REWARD_MODEL, device=name)


def test_a_forked_process_may_use_the_cpu(forked, monkeypatch):
    ensure_usable(CPU)
    assert resolve_device("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve_device() == CPU
