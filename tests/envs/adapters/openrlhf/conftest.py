"""What tests of OpenRLHF share: a prompt, and a stand-in for vLLM that replies as told."""

import importlib
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from music_envs.adapters.openrlhf import agent_executor, use_turn_credit

MESSAGES = [{"role": "user", "content": "Name a river."}]
LABEL = json.dumps(MESSAGES)
CLOSE = "<|end|>"
OTHER_END = "<|pad|>"
"""A token that ends a generation, too, as `<|endoftext|>` does beside `<|im_end|>`."""
NEEDS_A_GPU = ["deepspeed", "flash_attn", "vllm"]


class Engine:
    """Stands in for vLLM: replies with texts, cut to the budget, and leaves the stop token out of the text."""

    def __init__(self, tokenizer, *replies):
        self.tokenizer, self.replies, self.contexts = tokenizer, list(replies), []

    async def generate(self, tokens, sampling_params, multi_modal_data=None):
        self.contexts.append(self.tokenizer.decode(tokens))
        reply, close = self.replies.pop(0), self.tokenizer.eos_token
        text = reply if reply.endswith(OTHER_END) else reply + close
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        is_cut = len(ids) > sampling_params.max_tokens
        ids = ids[: sampling_params.max_tokens]
        text = self.tokenizer.decode(ids).removesuffix(close).removesuffix(OTHER_END)
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

    async def play(world, *replies, max_length=512, max_new_tokens=32, **options):
        engine = Engine(tokenizer, *replies)
        executor = agent_executor(world, tokenizer, **{"floor": -5.0, "reply_room": 8} | options)()
        parameters = SimpleNamespace(max_tokens=max_new_tokens, logprobs=None)
        done = await executor.execute(prompt, LABEL, parameters, max_length, tokenizer, engine)
        assert parameters.max_tokens == max_new_tokens  # the samples of a prompt share them
        return SimpleNamespace(**done, contexts=engine.contexts)

    return play


class StandIns:
    """Finds a stand-in for every module of the packages that need a GPU."""

    def find_spec(self, name, path, target=None):
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] in NEEDS_A_GPU else None

    def create_module(self, spec):
        return MagicMock(__spec__=spec, __path__=[], __version__="0.33.0")

    def exec_module(self, module):
        pass


@pytest.fixture(scope="package")
def stand_ins():
    """Let modules of OpenRLHF be imported without what needs a GPU, and forget them after the tests of this folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(Path(sys.prefix) / "gpu-only")])
        patch.setattr(sys, "meta_path", [*sys.meta_path, StandIns()])
        yield
    for name in [name for name in sys.modules if name.split(".")[0] in ["openrlhf", *NEEDS_A_GPU]]:
        del sys.modules[name]


@pytest.fixture
def openrlhf(gpu_only, stand_ins):
    """Return what imports a module of OpenRLHF."""
    return lambda name: importlib.import_module(f"openrlhf.{name}")


@pytest.fixture
def turn_credit(openrlhf, monkeypatch):
    """OpenRLHF's trainer with `use_turn_credit`, for one test."""
    maker = openrlhf("trainer.ppo_utils.experience_maker").RemoteExperienceMaker
    monkeypatch.setattr(maker, "compute_advantages_and_returns", maker.compute_advantages_and_returns)
    use_turn_credit()
