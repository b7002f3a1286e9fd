"""OpenRLHF's own reward model and the texts that it is trained on, without the GPU libraries beside them."""

import importlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import torch
from transformers import AutoConfig, LlamaModel, LlamaPreTrainedModel

GPU_ONLY = Path(sys.prefix) / "gpu-only"
_STUBS = ("deepspeed", "openrlhf.models.ring_attn_utils", "openrlhf.models.utils")


def _import(monkeypatch, name):
    assert GPU_ONLY.is_dir(), f"{GPU_ONLY} is missing: `make test` installs OpenRLHF there"
    monkeypatch.setattr(sys, "path", [*sys.path, str(GPU_ONLY)])
    for stub in _STUBS:
        monkeypatch.setitem(sys.modules, stub, MagicMock(__spec__=ModuleSpec(stub, None)))
    package = ModuleType("openrlhf.models")
    package.__path__ = [str(GPU_ONLY / "openrlhf" / "models")]
    monkeypatch.setitem(sys.modules, "openrlhf.models", package)
    return importlib.import_module(name)


def token_ids(monkeypatch, tokenizer, conversation):
    """Return what OpenRLHF's data set makes of a chosen conversation."""
    module = _import(monkeypatch, "openrlhf.datasets.reward_dataset")
    names = {"prompt_key": None, "chosen_key": "chosen", "rejected_key": "rejected", "apply_chat_template": True}
    strategy = SimpleNamespace(args=SimpleNamespace(data=SimpleNamespace(**names)))
    dataset = object.__new__(module.RewardDataset)
    dataset.tokenizer, dataset.strategy, dataset.max_length = tokenizer, strategy, 4096
    messages = conversation.to_messages()
    render = tokenizer.apply_chat_template
    row = module.preprocess_data(
        {"chosen": messages, "rejected": messages}, None, None, "chosen", "rejected", render, False
    )
    dataset.prompts, dataset.chosens, dataset.rejects, dataset.extras = ([part] for part in row)
    return dataset[0][0][0].tolist()


def reward(monkeypatch, path, ids):
    """Return the forward of OpenRLHF's reward model for one sequence."""
    module = _import(monkeypatch, "openrlhf.models.model")
    config = AutoConfig.from_pretrained(path)
    kind = module._get_reward_model(LlamaPreTrainedModel, LlamaModel, "score")
    model = kind.from_pretrained(path, config=config).eval()
    with torch.no_grad():
        return model(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long)).item()
