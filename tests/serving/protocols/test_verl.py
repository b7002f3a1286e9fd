"""verl's own discriminative reward path, from tokens of a rollout to a score, against a server."""

import asyncio
import sys
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from music.conversation import Conversation


@pytest.fixture
def verl(gpu_only, monkeypatch):
    """The module of verl's reward workers. Only a timer of its profiler is missing."""
    monkeypatch.setitem(sys.modules, "codetiming", MagicMock(__spec__=ModuleSpec("codetiming", None)))
    from verl.experimental.reward_loop import reward_loop

    return reward_loop


@pytest.fixture
def make_worker(verl, server, policy, checkpoint):
    """Return a maker of workers that ask the server as verl's engine of a name."""
    from omegaconf import OmegaConf

    def make(engine):
        model = {"enable": True, "model_path": str(checkpoint), "rollout": {"name": engine}}
        manager = {"source": "register", "name": "naive"}
        reward = {"reward_model": model, "custom_reward_function": {"path": None}, "reward_manager": manager}
        actor = {"model": {"tokenizer_path": str(policy.folder), "path": None}}
        config = {"actor_rollout_ref": actor, "reward": reward, "data": {"reward_fn_key": "data_source"}}
        return verl.RewardLoopWorker(OmegaConf.create(config), server.removeprefix("http://"))

    return make


@pytest.fixture
def roll_out(verl, policy):
    """Return what makes verl's batch of prompts and sampled replies, which are padded on the right."""

    def batch(prompts, replies):
        tokenizer = policy.tokenizer
        ids = [tokenizer(reply, add_special_tokens=False)["input_ids"] for reply in replies]
        width = max(map(len, ids))
        responses = torch.tensor([each + [0] * (width - len(each)) for each in ids])
        mask = torch.tensor([[1] * (3 + len(each)) + [0] * (width - len(each)) for each in ids])
        raw = np.empty(len(prompts), dtype=object)
        raw[:] = prompts
        tensors = {"responses": responses, "attention_mask": mask}
        return verl.DataProto.from_dict(tensors=tensors, non_tensors={"raw_prompt": raw})

    return batch


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_verl_gets_the_models_scores(make_worker, roll_out, talks, expected, engine):
    data = roll_out(
        [talk.to_messages()[:-1] for talk in talks], [f"{talk.messages[-1].content}<|im_end|>" for talk in talks]
    )
    scored = asyncio.run(make_worker(engine).compute_score_batch(data))
    assert [each["reward_score"] for each in scored] == expected


def test_the_users_turns_of_a_rollout_arrive_as_part_of_one_reply(make_worker, roll_out, served, talks):
    rollout = "An apple.<|im_end|>\n<|im_start|>user\nAnd a pear?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>"
    data = roll_out([talks[0].to_messages()[:-1]], [rollout])
    (scored,) = asyncio.run(make_worker("vllm").compute_score_batch(data))
    one_reply = Conversation().user("Name a fruit.").assistant(rollout.replace("<|im_end|>", ""))
    assert scored["reward_score"] == pytest.approx(served.model.score([one_reply])[0], abs=1e-5)


def test_verl_stops_at_once_where_nothing_can_be_scored(make_worker, roll_out, talks):
    from aiohttp import ClientResponseError

    data = roll_out([talks[0].to_messages()[:-1]], ["apple " * 600 + "<|im_end|>"])
    with pytest.raises(ClientResponseError) as caught:
        asyncio.run(make_worker("vllm").compute_score_batch(data))
    assert caught.value.status == 400
    assert "longer than the contract's max_length" in str(caught.value)  # all that verl logs
