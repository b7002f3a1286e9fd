"""verl's own classes, imported without a GPU, and a stand-in for its inference server."""

import importlib
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import MagicMock

import pytest
import torch

from music.sandbox.artifacts import BACKBONE
from music_envs.chat.world import ChatWorld

GPU_ONLY = Path(sys.prefix) / "gpu-only"
PROMPT = [{"role": "user", "content": "Name a river."}]


def import_hydra():
    """Import hydra with the old antlr4 that it needs, beside it; other libraries need a later one."""
    others = {name: sys.modules.pop(name) for name in [*sys.modules] if name.split(".")[0] == "antlr4"}
    sys.path.insert(0, str(GPU_ONLY))
    try:
        importlib.import_module("hydra")
    finally:
        sys.path.remove(str(GPU_ONLY))
        for name in [name for name in sys.modules if name.split(".")[0] == "antlr4"]:
            del sys.modules[name]
        sys.modules.update(others)


class Store:
    """Stands in for the queue between verl's workers and its trainer; keeps what is put."""

    def __init__(self):
        self.rows, self.statuses = {}, {}

    async def kv_put(self, key, partition_id, tag):
        self.statuses[key] = tag["status"]

    async def kv_batch_put(self, keys, fields, tags, partition_id):
        self.rows.update(zip(keys, fields, strict=True))


@pytest.fixture
def store(monkeypatch):
    store = Store()
    queue = MagicMock(__spec__=ModuleSpec("transfer_queue", None))
    queue.async_kv_put, queue.async_kv_batch_put = store.kv_put, store.kv_batch_put
    if "verl.trainer.ppo.v1.agent_loop_tq" in sys.modules:
        monkeypatch.setattr(sys.modules["verl.trainer.ppo.v1.agent_loop_tq"], "tq", queue)
    monkeypatch.setitem(sys.modules, "transfer_queue", queue)
    return store


@pytest.fixture
def verl(gpu_only, store):
    """Return what imports a module of verl."""
    import_hydra()
    return lambda name: importlib.import_module(f"verl.{name}")


@pytest.fixture
def compose(verl):
    """Return what composes verl's own configuration with overrides."""
    from hydra import compose, initialize_config_module

    def composed(*overrides):
        model = f"actor_rollout_ref.model.path={BACKBONE}"
        with initialize_config_module("verl.trainer.config", version_base=None):
            return compose("ppo_trainer", overrides=[model, *overrides])

    return composed


class Server:
    """Stands in for verl's client of inference servers: gives each conversation its replies, cut to the budget."""

    def __init__(self, output, tokenizer, *conversations):
        self.output, self.tokenizer, self.left = output, tokenizer, [list(replies) for replies in conversations]
        self.by_request, self.prompts = {}, []

    async def generate(self, request_id, *, prompt_ids, sampling_params, **_):
        if request_id not in self.by_request:
            self.by_request[request_id] = self.left.pop(0)
        self.prompts.append(self.tokenizer.decode(prompt_ids))
        text = self.by_request[request_id].pop(0)
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"] + [self.tokenizer.eos_token_id]
        ids = ids[: sampling_params.get("max_tokens")]
        logprobs = [-len(self.prompts) - place / 100 for place in range(len(ids))]
        step = {"min_global_steps": len(self.prompts), "max_global_steps": len(self.prompts)}
        return self.output(token_ids=ids, log_probs=logprobs, stop_reason="completed", extra_fields=step)


def _as_plain(row):
    """Return a stored rollout as lists and dicts."""
    names = ("prompts", "responses", "response_mask", "rm_scores", "rollout_log_probs", "num_turns", "extra_fields")
    values = {name: row[name] for name in names}
    return {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in values.items()}


@pytest.fixture
def play(verl, store):
    """Let verl's own worker play rows of a data set, a list of replies for each rollout; return them as verl stores
    them, by number.
    """

    async def played(config, row, conversations):
        scores = verl("experimental.reward_loop.reward_loop").RewardLoopWorker(config)
        handle = SimpleNamespace(compute_score=SimpleNamespace(remote=scores.compute_score))
        make = verl("trainer.ppo.v1.agent_loop_tq").AgentLoopWorkerTQ.__ray_metadata__.modified_class
        worker = make(config, None, reward_loop_worker_handles=[handle])
        worker.llm_client = Server(verl("workers.rollout.replica").TokenOutput, worker.tokenizer, *conversations)
        batch = verl("utils.tensordict_utils").get_tensordict(
            {name: [value] for name, value in {"uid": "prompt", "index": 0, **row}.items()}, {"global_steps": 3}
        )
        await worker.generate_sequences(batch)
        while worker.background_tasks:
            await next(iter(worker.background_tasks))
        return SimpleNamespace(
            keys=sorted(store.rows),
            rows=[_as_plain(row) for _, row in sorted(store.rows.items())],
            status=store.statuses["prompt"],
            prompts=worker.llm_client.prompts,
            tokenizer=worker.tokenizer,
        )

    return played


@pytest.fixture
def roll_out(play, compose, tmp_path, monkeypatch):
    """Play rollouts of one prompt with the chat loop, and options of it."""

    async def played(
        world, *conversations, prompt=PROMPT, max_response_length=256, agent="chat", overrides=(), **options
    ):
        if isinstance(world, ChatWorld):
            own = ModuleType("own_world")
            own.world = lambda made=world: made
            monkeypatch.setitem(sys.modules, "own_world", own)
            world = {"_target_": "own_world.world"}
        loop = {"name": "chat", "_target_": "music_envs.adapters.verl.agent_loop.ChatAgentLoop", "floor": -5.0}
        loop |= {"world": world, "reply_room": 8} | options
        file = tmp_path / "loop.yaml"
        file.write_text(json.dumps([loop]), encoding="utf-8")  # JSON is YAML
        config = compose(
            f"actor_rollout_ref.rollout.n={len(conversations)}",
            f"actor_rollout_ref.rollout.agent.agent_loop_config_path={file}",
            f"actor_rollout_ref.rollout.agent.default_agent_loop={agent}",
            "actor_rollout_ref.rollout.name=vllm",
            "data.max_prompt_length=64",
            f"data.max_response_length={max_response_length}",
            *overrides,
        )
        return await play(config, {"raw_prompt": prompt}, conversations)

    return played
