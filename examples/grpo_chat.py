"""GRPO over whole conversations: TRL trains a policy, a simulated user answers its replies, and a reward judges them.

The policy is the sandbox's small language model, the judge the sandbox's oracle. Two steps show that the loop works;
they are too few to learn from. To use your own parts, set the model, `user="MODEL@BASE_URL"` and `reward="runs/rm"`.

Run it: python examples/grpo_chat.py (needs the extra `trl`)
"""

from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from music.sandbox.artifacts import BACKBONE
from music_envs import ChatWorld, load_prompts
from music_envs.adapters.trl import ChatRollout, episode_reward


def shown_reward(*, conversation: list[list[dict[str, str]]], **fields: Any) -> list[float | None]:
    """Return the rewards, and show the first conversation."""
    rewards = episode_reward(**fields)
    for message in conversation[0]:
        print(f"{message['role']:10} {message['content']}")
    print(f"{'reward':10} {rewards[0]}\n")
    return rewards


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
    world = ChatWorld(num_turns=3, user="sandbox", reward="oracle")
    prompts = Dataset.from_list([{"prompt": seed.to_messages()} for seed in load_prompts("sandbox", 100)])
    trainer = GRPOTrainer(
        model=str(BACKBONE),
        args=config,
        train_dataset=prompts,
        rollout_func=ChatRollout(world),
        reward_funcs=[shown_reward],
    )
    trainer.train()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        train(folder)
