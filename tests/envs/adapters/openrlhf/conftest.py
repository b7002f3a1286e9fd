"""What tests of OpenRLHF share: a prompt, and a stand-in for vLLM that replies as told."""

import importlib
import json
import sys
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

MESSAGES = [{"role": "user", "content": "Name a river."}]
LABEL = json.dumps(MESSAGES)
CLOSE = "<|end|>"
NEEDS_A_GPU = ["deepspeed", "flash_attn", "vllm"]


class Engine:
    """Stands in for vLLM: replies with texts, cut to the budget, and leaves the stop token out of the text."""

    def __init__(self, tokenizer, *replies):
        self.tokenizer, self.replies, self.contexts = tokenizer, list(replies), []

    async def generate(self, tokens, sampling_params, multi_modal_data=None):
        self.contexts.append(self.tokenizer.decode(tokens))
        close = self.tokenizer.eos_token
        ids = self.tokenizer(self.replies.pop(0) + close, add_special_tokens=False)["input_ids"]
        is_cut = len(ids) > sampling_params.max_tokens
        ids = ids[: sampling_params.max_tokens]
        text = self.tokenizer.decode(ids).removesuffix(close)
        finish = "length" if is_cut else "stop"
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, text=text, finish_reason=finish)])


@pytest.fixture
def tokenizer(make_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.eos_token = CLOSE
    return tokenizer


@pytest.fixture
def prompt(tokenizer):
    return tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)


@pytest.fixture
def make_engine():
    return Engine


@pytest.fixture
def execute(gpu_only, tokenizer, prompt):
    """Let OpenRLHF's own loop play a conversation with the given replies; return its result and the contexts."""
    from music_envs.adapters.openrlhf import agent_executor

    async def play(world, *replies, max_length=512, max_new_tokens=32, **options):
        engine = Engine(tokenizer, *replies)
        executor = agent_executor(world, tokenizer, **{"floor": -5.0, "reply_room": 8} | options)()
        parameters = SimpleNamespace(max_tokens=max_new_tokens, logprobs=None)
        done = await executor.execute(prompt, LABEL, parameters, max_length, tokenizer, engine)
        assert parameters.max_tokens == max_new_tokens  # the samples of a prompt share them
        return SimpleNamespace(**done, contexts=engine.contexts)

    return play


@pytest.fixture
def openrlhf(gpu_only, monkeypatch):
    """Import modules of OpenRLHF without what needs a GPU; forget them afterwards."""

    class Missing:
        """Finds a stand-in for every module of the packages that are missing."""

        def find_spec(self, name, path, target=None):
            return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in NEEDS_A_GPU else None

        def create_module(self, spec):
            return MagicMock(__spec__=spec, __path__=[], __version__="0.33.0")

        def exec_module(self, module):
            pass

    mine = {name: module for name, module in sys.modules.items() if name.split(".")[0] != "openrlhf"}
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Missing()])
    yield lambda name: importlib.import_module(f"openrlhf.{name}")
    for name in {*sys.modules} - {*mine}:
        if name.split(".")[0] in ["openrlhf", *NEEDS_A_GPU]:
            del sys.modules[name]
