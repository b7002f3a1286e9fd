import os
import signal

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from music.sandbox.artifacts import BACKBONE
from music_envs import ChatVectorEnv
from music_envs.credit import USER
from music_trainers.policy import run as run_module
from music_trainers.policy.chat_tokens import ChatTokens
from music_trainers.policy.config import LORA_RATE, PolicyTrainingConfig
from music_trainers.policy.likelihood import WithoutAdapters, reply_log_likelihoods
from music_trainers.policy.rollouts import roll_out
from music_trainers.policy.run import train_policy
from music_trainers.policy.trainer import TurnTrainer

SMALL = {"num_groups": 2, "group_size": 2, "num_turns": 2, "updates_per_step": 1, "max_reply_tokens": 12}
SMALL |= {"num_steps": 2, "evaluate_every": 2, "num_evaluations": 2, "reward": "length"}
LORA = {"lora_rank": 2, "learning_rate": 0.01}


@pytest.fixture
def episodes(tokenizer):
    """Return episodes of different lengths."""
    tokens = ChatTokens(tokenizer, [])
    texts = ["Plan it.", "Keep tomato gear simple.", "Buy one good pair of gloves first."]
    replies = [[*tokenizer(text)["input_ids"], tokens.closing_id] for text in texts]
    env = ChatVectorEnv(3, num_turns=2, reward_mode="per_turn")
    return roll_out(env, tokens, lambda prompts: replies[: len(prompts)], [1, 2, 3])


def test_log_likelihoods_in_chunks_are_those_of_all_logits(policy, episodes):
    expected = []
    for row in episodes:
        ids = torch.tensor([row.prompt_ids + row.completion_ids])
        with torch.no_grad():
            chosen = policy(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        owners = [USER] * len(row.prompt_ids) + row.turns
        expected.append(sum(value for value, owner in zip(chosen.tolist(), owners[1:], strict=True) if owner != USER))
    add_fused_lm_head(policy)
    assert reply_log_likelihoods(policy, episodes, 0).tolist() == pytest.approx(expected, rel=1e-5)


def test_without_adapters_a_policy_is_what_it_was_before_training(policy, episodes):
    add_fused_lm_head(policy)
    start = reply_log_likelihoods(policy, episodes, 0)
    adapted = get_peft_model(policy, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)).eval()
    assert not torch.allclose(reply_log_likelihoods(adapted, episodes, 0), start, atol=0.1)
    torch.testing.assert_close(reply_log_likelihoods(WithoutAdapters(adapted), episodes, 0), start)


@pytest.mark.parametrize(("settings", "num_copies"), [({}, 2), ({"kl_weight": 0}, 2), (LORA, 1)])
def test_there_is_at_most_one_copy_of_the_starting_policy(tmp_path, monkeypatch, settings, num_copies):
    held = []

    class Watched(TurnTrainer):
        def train(self, *args, **kwargs):
            models = [self.model, self.ref_model, self.start]
            held.append({weight.data_ptr() for each in models if each is not None for weight in each.parameters()})
            return super().train(*args, **kwargs)

    class HeldOut(run_module.HeldOutEpisodes):
        def __init__(self, config, env, judge, start, *rest):
            Watched.start = None if isinstance(start, WithoutAdapters) else start
            super().__init__(config, env, judge, start, *rest)

    monkeypatch.setattr(run_module, "TurnTrainer", Watched)
    monkeypatch.setattr(run_module, "HeldOutEpisodes", HeldOut)
    train_policy(PolicyTrainingConfig(out=tmp_path, **SMALL | settings))
    num_weights = len(list(AutoModelForCausalLM.from_pretrained(BACKBONE).parameters()))
    num_adapters = 2 * 2 * 7 * 4 if settings is LORA else 0  # two matrices per linear layer; TRL keeps the first ones
    assert len(held[0]) == num_copies * num_weights + num_adapters


def test_adapters_are_merged_into_the_saved_policy_and_a_run_with_them_resumes_exactly(tmp_path):
    whole = PolicyTrainingConfig(out=tmp_path / "whole", **SMALL | LORA)
    result = train_policy(whole)
    assert result.curve[0].kl.value == 0.0
    assert result.curve[-1].kl.value != 0.0
    assert not (whole.out / "policy" / "adapter_config.json").exists()
    start, trained = (load_file(each / "model.safetensors") for each in (BACKBONE, whole.out / "policy"))
    assert trained.keys() == start.keys()
    changed = {name for name in start if not torch.equal(start[name], trained[name])}
    assert len(changed) == 7 * 4  # all linear layers, and no others
    config = whole.model_copy(update={"out": tmp_path / "rl", "rollouts": "lock_step"})
    with pytest.raises(KeyboardInterrupt):
        train_policy(config, on_step=lambda step: step == 1 and os.kill(os.getpid(), signal.SIGINT))
    assert (config.out / "checkpoints" / "step-00000001" / "adapter_model.safetensors").exists()
    again = train_policy(config.model_copy(update={"resume": True}))
    assert again.curve == result.curve
    resumed = load_file(config.out / "policy" / "model.safetensors")
    assert all(torch.equal(resumed[name], trained[name]) for name in trained)


def test_an_asynchronous_run_learns_from_the_same_episodes_with_users_who_answer_at_once(tmp_path):
    result = train_policy(PolicyTrainingConfig(out=tmp_path, **SMALL, rollouts="asynchronous", min_finished=1.0))
    assert result.curve[-1].kl.value != 0.0
    assert (tmp_path / "training.jsonl").read_text().count('"num_late":0') == 2


def test_the_rate_fits_what_is_trained():
    assert PolicyTrainingConfig(policy="m", lora_rank=8).rate == LORA_RATE
    assert PolicyTrainingConfig(policy="m").rate == 1e-6
