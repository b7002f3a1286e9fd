"""GRPO over whole conversations, with credit for each turn: a simulated user answers the policy, a reward judges it.

The policy is the sandbox's small language model, the judge the sandbox's oracle. Two steps show that the loop works;
they are too few to learn from. To use your own parts, set the model, `user="MODEL@BASE_URL"` and `reward="runs/rm"`.

Run it: python examples/grpo_chat.py (needs the extra `trl`)
"""

from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig

from music.sandbox.artifacts import BACKBONE
from music_envs import ChatWorld, load_prompts
from music_envs.adapters.trl import ChatRollout, TurnLevelGRPOTrainer, episode_reward


def shown_reward(**fields: Any) -> list[float | None]:
    """Return the rewards, and show the first conversation with the reward of each reply."""
    rewards = iter(fields["turn_rewards"][0])
    for message in fields["conversation"][0][len(fields["prompts"][0]) - 1 :]:
        reward = f"{next(rewards):+.2f}" if message["role"] == "assistant" else ""
        print(f"{message['role']:10} {reward:>6}  {message['content']}")
    return episode_reward(**fields)


def train(folder: str) -> None:
    """Train for two steps."""
    config = GRPOConfig(
        output_dir=folder,
        max_steps=2,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=32,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    world = ChatWorld(num_turns=3, user="sandbox", reward="oracle", reward_mode="per_turn")
    prompts = Dataset.from_list([{"prompt": seed.to_messages()} for seed in load_prompts("sandbox", 100)])
    trainer = TurnLevelGRPOTrainer(
        discount=0.0,  # each reply answers for its own reward
        model=str(BACKBONE),
        args=config,
        train_dataset=prompts,
        rollout_func=ChatRollout(world, floor=-1.0),  # the oracle's scores are not below 0
        reward_funcs=[shown_reward],
    )
    trainer.train()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        train(folder)
