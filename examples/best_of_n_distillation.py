"""Best-of-N distillation: the best of N replies become training data, and the model learns to give them at once.

Greedy Best-of-N selects with a reward model. The kept conversations are a set for SFT, and the best and the worst reply
of every choice are a set for DPO. TRL trains the same small model on both, one after the other.

Run it: python examples/best_of_n_distillation.py (needs the extra `trl`)
"""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from music.llm import Sampling, load_model
from music.reward import load_reward
from music.sandbox import BACKBONE, REWARD_MODEL
from music_agents.roles import AssistantRole
from music_envs import BestOfNConfig, load_prompts, run_best_of_n, write_distillation

SMALL: dict[str, Any] = {"max_steps": 4, "per_device_train_batch_size": 4, "report_to": "none", "use_cpu": True}
SMALL |= {"logging_steps": 1, "save_strategy": "no", "disable_tqdm": True}


def main() -> None:
    """Select, write the two sets, and train on them."""
    assistant = AssistantRole(load_model(f"local:{BACKBONE}"), Sampling(max_tokens=32), keeps_cut=True)
    selecting = run_best_of_n(
        load_prompts("sandbox", 16),
        assistant=assistant,
        user=load_model("sandbox"),
        reward=load_reward(str(REWARD_MODEL)),
        config=BestOfNConfig(num_candidates=4, num_turns=2),
    )
    with TemporaryDirectory() as folder:
        sets = write_distillation(Path(folder), asyncio.run(selecting), min_margin=0.5)
        print(sets)
        tokenizer = AutoTokenizer.from_pretrained(BACKBONE)
        model = AutoModelForCausalLM.from_pretrained(BACKBONE)
        conversations = load_dataset("json", data_files=str(sets.sft), split="train", cache_dir=folder)
        sft = SFTConfig(output_dir=folder, learning_rate=1e-4, **SMALL)
        SFTTrainer(model, sft, train_dataset=conversations, processing_class=tokenizer).train()
        pairs = load_dataset("json", data_files=str(sets.dpo), split="train", cache_dir=folder)
        dpo = DPOConfig(output_dir=folder, learning_rate=1e-5, **SMALL)
        DPOTrainer(model, args=dpo, train_dataset=pairs, processing_class=tokenizer).train()


if __name__ == "__main__":
    main()
