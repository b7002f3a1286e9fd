"""TRL's GRPO with a reward model behind a server."""

import pytest
import trl

from music.conversation import Conversation
from music.reward import RemoteReward
from music.sandbox.artifacts import BACKBONE
from music_envs.adapters.trl import as_trl_reward

PROMPTS = [[{"role": "user", "content": text}] for text in ("Name a fruit.", "What is the weather in the city?")]


def test_grpo_trains_on_the_scores_of_a_server(server, served, tmp_path):
    from datasets import Dataset

    seen = []
    reward = as_trl_reward(RemoteReward(served.name, server))

    def spy(prompts, completions, **given):
        scores = reward(prompts, completions, **given)
        seen.extend(zip(prompts, completions, scores, strict=True))
        return scores

    trainer = trl.GRPOTrainer(
        model=str(BACKBONE),
        reward_funcs=spy,
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in PROMPTS]),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=4,
            num_generations=2,
            max_steps=2,
            max_completion_length=24,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
    )
    trainer.train()
    assert trainer.state.global_step == 2
    assert len(seen) == 8
    scored = [(prompt, made[0]["content"].strip(), score) for prompt, made, score in seen if score is not None]
    assert len(scored) > 1
    talks = [Conversation.from_messages(prompt).assistant(reply) for prompt, reply, _ in scored]
    assert [score for *_, score in scored] == pytest.approx(served.model.score(talks), abs=1e-5)
