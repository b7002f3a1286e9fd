"""One of two processes of TRL, started by torchrun: it plays and trains, and writes what it saw into a JSON file.

vLLM's server and engine are stand-ins. What gathers prompts and distributes replies is TRL's own `VLLMGeneration`.
"""

import json
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import trl.generation.vllm_generation as vllm_generation
from datasets import Dataset
from torch import distributed
from trl import GRPOConfig, GRPOTrainer

from music.pairs import Usage
from music.sandbox.artifacts import BACKBONE
from music_agents.roles import RoleTurn
from music_envs.adapters.trl import ChatRollout, TurnLevelGRPOTrainer, episode_reward
from music_envs.chat.world import ChatWorld
from music_envs.credit import USER

END = "<|assistant_end|>"
PROMPTS = (["a one", "a two", "a three"], ["b one", "b two", "b three"])
CASES = {
    "blank on rank 0": {"a two"},
    "blank on rank 1": {"b one"},
    "blanks at later turns": {"a three again", "b two", "b three again again"},
    "rank 0 ends first": {"a one", "a two", "a three again"},
    "rank 1 ends first": {"b one", "b two", "b three"},
}
"""The users' messages that the policy answers with silence."""
CREDIT = [
    ([1.0, 2.0], [0, 0, USER, 1]),
    ([1.0], [0]),
    ([0.0, 4.0], [0, USER, USER, 1, 1]),
    ([math.nan], [0, 0]),
    ([5.0], [0, 0]),
    ([3.0], [0]),
    ([0.0, 3.0], [0, 1, 1]),
    ([2.0], [0, 0, 0]),
]
"""A group: the rewards of the turns, and the turns of the tokens."""


async def repeat_user(view):
    """Repeat the last message, marked as a repetition."""
    text = f"{view.conversation.messages[-2].content} again"
    return RoleTurn(text=text, usage=Usage())


class Policy:
    """Says which message it replies to; stands in for vLLM's client and for its engine."""

    silent = frozenset()

    def __init__(self, **_):
        config = SimpleNamespace(max_model_len=2048)
        self.llm_engine = SimpleNamespace(model_config=config)

    def init_communicator(self, device):
        pass

    def get_server_info(self):
        return {"model_config": {"logprobs_mode": "processed_logprobs"}}

    def reply(self, ids):
        said = self.tokenizer.decode(ids).removeprefix("<s>").replace(END, "<|user_end|>").split("<|user_end|>")
        message = said[-2].strip()
        text = END if message in self.silent else f"to {message}{END}"
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


class Client(Policy):
    def generate(self, prompts, n, **_):
        replies = [self.reply(ids) for ids in prompts]
        return {"prompt_ids": prompts, "completion_ids": replies, "logprobs": [[[-0.5]] * len(ids) for ids in replies]}


class Engine(Policy):
    def generate(self, prompts, **_):
        outputs = []
        for prompt in prompts:
            ids = self.reply(prompt["prompt_token_ids"])
            logprobs = [{token: SimpleNamespace(rank=1, logprob=-0.5)} for token in ids]
            sample = SimpleNamespace(token_ids=ids, logprobs=logprobs)
            outputs.append(SimpleNamespace(prompt_token_ids=prompt["prompt_token_ids"], outputs=[sample]))
        return outputs


class Counted(GRPOTrainer):
    """Counts the prompts of each call to generate."""

    def _generate_single_turn(self, prompt_ids, *rest):
        self.num_prompts.append(len(prompt_ids))
        return super()._generate_single_turn(prompt_ids, *rest)


class Watched(TurnLevelGRPOTrainer):
    """Keeps the losses of its steps."""

    def _compute_loss(self, model, inputs):
        loss = super()._compute_loss(model, inputs)
        self.losses.append(loss.item())
        return loss


def config(folder, **options):
    return GRPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to=[], save_strategy="no", disable_tqdm=True, **options
    )


def rollouts(folder, rank, mode):
    """Play all cases; return the conversations, the rewards and the sizes of the calls."""
    options = {"per_device_train_batch_size": 3, "num_generations": 2, "use_vllm": True, "vllm_mode": mode}
    if mode == "colocate":
        options["vllm_tensor_parallel_size"] = 2
    prompts = Dataset.from_list([{"prompt": [{"role": "user", "content": "a one"}]}])
    trainer = Counted(
        model=str(BACKBONE),
        reward_funcs=[episode_reward],
        rollout_func=print,
        train_dataset=prompts,
        args=config(folder, **options),
    )
    trainer._last_loaded_step = trainer.state.global_step  # no weights to send
    Policy.tokenizer = trainer.processing_class
    roll_out = ChatRollout(ChatWorld(num_turns=3, user=repeat_user, reward="length"))
    outcomes = {}
    for case, silent in CASES.items():
        Policy.silent, trainer.num_prompts = silent, []
        out = roll_out([[{"role": "user", "content": text}] for text in PROMPTS[rank]], trainer)
        outcomes[case] = {
            "conversations": out["conversation"],
            "rewards": out["episode_reward"],
            "num_prompts": trainer.num_prompts,
            "logprobs": out["logprobs"],
            "env_mask": out["env_mask"],
        }
    return outcomes


def credit(folder, rank=0, num_processes=1):
    """Train on `CREDIT` for one step, one completion at a time; return what each contributes to the loss."""
    share = len(CREDIT) // num_processes

    def roll_out(prompts, trainer):
        assert len(prompts) == share
        own = CREDIT[share * rank :][:share]
        return {
            "prompt_ids": [[5, 6]] * share,
            "completion_ids": [[7] * len(turns) for _, turns in own],
            "logprobs": None,
            "env_mask": [[int(turn != USER) for turn in turns] for _, turns in own],
            "turn_rewards": [rewards for rewards, _ in own],
            "token_turns": [turns for _, turns in own],
        }

    options = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": share, "num_generations": len(CREDIT)}
    trainer = Watched(
        model=str(BACKBONE),
        reward_funcs=[lambda completions, **_: [0.0] * len(completions)],
        rollout_func=roll_out,
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "a"}]}]),
        args=config(folder, max_steps=1, loss_type="grpo", **options),
    )
    trainer.losses = []
    trainer.train()
    return [loss * share for loss in trainer.losses]


def main(folder):
    rank = int(os.environ["RANK"])
    vllm_generation.is_vllm_available = lambda: True
    vllm_generation.VLLMClient, vllm_generation.LLM, vllm_generation.SamplingParams = Client, Engine, dict
    losses = credit(folder, rank, num_processes=2)
    outcomes = {mode: rollouts(folder, rank, mode) for mode in ("server", "colocate")}
    (folder / f"{rank}.json").write_text(json.dumps({"rollouts": outcomes, "losses": losses}), encoding="utf-8")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
