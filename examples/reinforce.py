"""REINFORCE by hand on the vector environment: what `music rl` does with TRL, on one page.

Conversations of a group meet the same user, so a reply's advantage is its reward less the group's mean at that turn.
A reward model gives the rewards; the oracle is only printed. Every step has new users.

Run it (half a minute on one core): python examples/reinforce.py
"""

from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from music.conversation import Conversation
from music.sandbox import oracle_score
from music.sandbox.artifacts import BACKBONE, REWARD_MODEL
from music_envs import ChatVectorEnv

NUM_STEPS, NUM_GROUPS, GROUP_SIZE, NUM_ENVS = 8, 8, 8, 64


def sample(policy: Any, tokenizer: Any, conversations: tuple[Conversation, ...]) -> tuple[list[str], torch.Tensor]:
    """Return a reply to each conversation, and its log-likelihood with a gradient."""
    how = {"add_generation_prompt": True, "padding": True, "return_tensors": "pt", "return_dict": True}
    prompts = tokenizer.apply_chat_template([conversation.to_messages() for conversation in conversations], **how)
    ids = policy.generate(**prompts, do_sample=True, top_k=0, max_new_tokens=48)
    replies = ids[:, prompts["input_ids"].shape[1] :]
    is_reply = replies != tokenizer.pad_token_id
    mask = torch.cat([prompts["attention_mask"], is_reply.long()], dim=1)
    logits = policy(input_ids=ids, attention_mask=mask, position_ids=(mask.cumsum(1) - 1).clamp(min=0)).logits
    chosen = logits[:, -replies.shape[1] - 1 : -1].log_softmax(-1).gather(-1, replies[..., None]).squeeze(-1)
    return tokenizer.batch_decode(replies, skip_special_tokens=True), (chosen * is_reply).sum(1)


def main() -> None:
    torch.manual_seed(0)
    tokenizer: Any = AutoTokenizer.from_pretrained(BACKBONE, padding_side="left")
    policy: Any = AutoModelForCausalLM.from_pretrained(BACKBONE)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=5e-4)
    env = ChatVectorEnv(NUM_ENVS, num_turns=3, reward=str(REWARD_MODEL), reward_mode="per_turn")
    for step in range(NUM_STEPS):
        conversations, _ = env.reset(seed=[step * NUM_GROUPS + i // GROUP_SIZE for i in range(NUM_ENVS)])
        earned, terminated = 0.0, np.array(False)
        while not terminated.all():
            replies, log_likelihoods = sample(policy, tokenizer, conversations)
            conversations, rewards, terminated, _, _ = env.step([reply.strip() or "..." for reply in replies])
            groups = torch.from_numpy(rewards).float().view(NUM_GROUPS, GROUP_SIZE)
            advantages = (groups - groups.mean(1, keepdim=True)).flatten()
            loss: torch.Tensor = -(advantages * log_likelihoods).mean()
            loss.backward()  # type: ignore[no-untyped-call]
            earned += rewards.mean() / 3
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        print(f"step {step + 1}: reward {earned:.2f}, oracle {sum(oracle_score(conversations)) / NUM_ENVS:.2f}")


if __name__ == "__main__":
    main()
