"""Rebuild the two small models that ship with the sandbox: `python tools/backbone.py`, or `make backbone`.

They replace the paper's starting points: a language-model backbone (Gemma-2-9B-it in the paper, here a four-layer Llama
pretrained on the world's own text) and a reward model trained from it on pairs that differ in the last turn only (as in
Skywork's set). Everything is determined by a seed and fixed step counts. It takes about 15 minutes on one core.

In some conversations of the text the user reacts to a reply ("Wrong hobby, that was."). This makes the language model
notice, at the end of a reply, what is wrong with it, which a small model does not learn from a few thousand preference
pairs. Users in simulations never react, so a reward model cannot read a reaction; and a reaction is always about the
last reply, never about an earlier one.
"""

import itertools
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from torch.nn import functional
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    get_cosine_schedule_with_warmup,
)

from music.conversation import Conversation
from music.sandbox.artifacts import BACKBONE, REWARD_MODEL
from music.sandbox.world.language import write_user
from music.sandbox.world.oracle import grade_turns
from music.sandbox.world.phrases import FEEDBACK
from music.sandbox.world.players import draw_persona, next_user_act, reply, stream
from music.sandbox.world.seeds import contrast_pairs, seed_pairs
from music.sandbox.world.state import state_after
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.records import RewardTrainingResult
from music_trainers.reward.trainer import train_reward_model

__all__ = ["PretrainingConfig", "build_tokenizer", "pretrain", "train_starting_model"]

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}<|assistant_end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|{{ message['role'] }}_end|>{% endif %}"
    "{% endfor %}"
)
"""Every message ends with a token for its role, so the reward is read where the next speaker would react."""
SPECIAL_TOKENS = ["<pad>", "<s>", "<|system_end|>", "<|user_end|>", "<|assistant_end|>"]
REACTION_WEIGHT, REACTION_LENGTH = 5.0, 5
"""The first tokens after a reply have a larger weight, as they say what is wrong with the reply."""

REACTION_SHARE = 0.75
CARELESSNESS = (0.5, 1.5, 2.5)
TURN_WEIGHTS = {1: 0.4, 2: 0.2, 3: 0.15, 4: 0.1, 5: 0.08, 6: 0.07}


@dataclass(frozen=True, kw_only=True)
class PretrainingConfig:
    """The settings of the backbone's pretraining.

    Attributes:
        seed: Seed of text, initial weights and order.
        num_steps: Optimizer steps.
        num_single_turn_steps: Number of first steps that see only conversations of one turn.
        tokens_per_step: Tokens in a step's batch, with padding. Many small steps teach more than few large ones.
        learning_rate: Peak rate, after a warm-up of `num_warmup_steps` and before a cosine to zero.
        num_warmup_steps: Steps of linear warm-up.
        hidden_size: Width.
        num_heads: Number of attention heads.
        num_layers: Number of layers.
    """

    seed: int = 0
    num_steps: int = 12_000
    num_single_turn_steps: int = 3000
    tokens_per_step: int = 1000
    learning_rate: float = 3e-3
    num_warmup_steps: int = 200
    hidden_size: int = 96
    num_heads: int = 4
    num_layers: int = 4


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the world's text: its words become single tokens, and all other text can be encoded."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    texts = (message.content for each in draw_conversations(3000, seed) for message in each.messages)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts,
        BpeTrainer(vocab_size=1024, initial_alphabet=alphabet, special_tokens=SPECIAL_TOKENS, show_progress=False),
    )
    settings: dict[str, Any] = {
        "bos_token": "<s>",
        "eos_token": "<|assistant_end|>",
        "pad_token": "<pad>",
        "additional_special_tokens": ["<|system_end|>", "<|user_end|>"],
        "model_max_length": 2048,
        "chat_template": TEMPLATE,
    }
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast(tokenizer_object=bpe, **settings)  # type: ignore[no-untyped-call]
    return tokenizer


def pretrain(config: PretrainingConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Pretrain the language model on next-token prediction over the world's text."""
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(_architecture(config, tokenizer))
    betas = (0.9, 0.95)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=betas, weight_decay=0.05, fused=True
    )
    schedule = get_cosine_schedule_with_warmup(optimizer, config.num_warmup_steps, config.num_steps)
    began, losses = time.monotonic(), list[float]()
    for step, ids in enumerate(_batches(config, tokenizer), 1):
        loss = _loss(model, ids, tokenizer)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if step % 250 == 0:
            recent = sum(losses[-250:]) / 250
            print(f"step {step}/{config.num_steps}, loss {recent:.4f}, {time.monotonic() - began:.0f} s", flush=True)
    return model


def train_starting_model(backbone: Path, out: Path, seed: int) -> RewardTrainingResult:
    """Train the starting reward model on last-turn-only pairs: labelled pairs, and contrasts that need no label."""
    pairs = seed_pairs(8000, seed + 10, single_turn_share=0.8) + contrast_pairs(6000, seed + 10)
    config = RewardTrainingConfig(
        base=str(backbone), out=out, learning_rate=3e-4, batch_size=8, seed=seed, checkpoint_every=0
    )
    held_out = seed_pairs(500, seed + 11, single_turn_share=1.0, label_noise=False)
    return train_reward_model(config, pairs, held_out)


def main() -> None:
    """Build both models in a temporary folder, then copy them into the package."""
    torch.set_num_threads(1)
    config = PretrainingConfig()
    tokenizer = build_tokenizer(config.seed)
    with TemporaryDirectory() as scratch:
        backbone, reward_model = Path(scratch, BACKBONE.name), Path(scratch, REWARD_MODEL.name)
        pretrain(config, tokenizer).save_pretrained(backbone)
        tokenizer.save_pretrained(backbone)
        result = train_starting_model(backbone, reward_model, config.seed)
        print(f"starting reward model: {result.num_steps} steps, {result.after}")
        for built, shipped in ((backbone, BACKBONE), (reward_model, REWARD_MODEL)):
            shutil.rmtree(shipped, ignore_errors=True)
            shutil.copytree(built, shipped, ignore=shutil.ignore_patterns("training.json"))


def draw_conversations(num: int, seed: int, *, single_turn: bool = False) -> Iterator[Conversation]:
    """Yield conversations of one to six turns, or of one turn; three in four replies get a reaction."""
    rng = random.Random(f"corpus/{seed}")
    weights = {1: 1.0} if single_turn else TURN_WEIGHTS
    for index in range(num):
        num_turns = rng.choices(list(weights), list(weights.values()))[0]
        yield _converse(num_turns, f"corpus/{seed}/{index}", rng.choice(CARELESSNESS))


def _reaction(conversation: Conversation, rng: random.Random) -> str:
    """Return the user's reaction to the last reply: its errors, or praise."""
    errors = grade_turns(conversation)[-1].errors
    return " ".join(rng.choice(FEEDBACK[error]) for error in errors or ("",))


def _converse(num_turns: int, tag: str, carelessness: float) -> Conversation:
    """Return a conversation of user and assistant; it may end with a reaction of the user."""
    conversation = Conversation()
    persona = draw_persona(stream(tag, "persona"))
    for turn in range(num_turns):
        rng = stream(f"{tag}/{turn}", "user")
        opening = _reaction(conversation, rng) if turn and rng.random() < REACTION_SHARE else ""
        act = next_user_act(state_after(conversation), persona, rng)
        conversation = conversation.user(write_user(act, rng, opening))
        conversation = conversation.assistant(reply(conversation, f"{tag}/{turn}", carelessness) or "Certainly.")
    rng = stream(tag, "last")
    return conversation.user(_reaction(conversation, rng)) if rng.random() < REACTION_SHARE else conversation


def _architecture(config: PretrainingConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Return the Llama's config."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=8 * config.hidden_size // 3,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_heads,
        max_position_embeddings=2048,
        # The usual 0.02 suits wide models; at this width it delays learning by thousands of steps.
        initializer_range=0.1,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _batches(config: PretrainingConfig, tokenizer: PreTrainedTokenizerFast) -> Iterator[Tensor]:
    """Yield `num_steps` right-padded batches; shape `[conversations, tokens]`."""
    rng = random.Random(config.seed)
    steps = 0
    for chunk in itertools.count():
        is_early = steps < config.num_single_turn_steps
        conversations = draw_conversations(512, config.seed * 100_000 + chunk, single_turn=is_early)
        for batch in _by_length(conversations, tokenizer, config.tokens_per_step, rng):
            yield tokenizer.pad({"input_ids": batch}, return_tensors="pt")["input_ids"]
            steps += 1
            if steps == config.num_steps:
                return


def _by_length(
    conversations: Iterator[Conversation], tokenizer: Any, max_tokens: int, rng: random.Random
) -> list[list[list[int]]]:
    """Return batches of whole conversations of about the same length, in random order."""
    encoded = tokenizer.apply_chat_template([each.to_messages() for each in conversations], return_dict=True)
    batches: list[list[list[int]]] = [[]]
    for row in sorted(encoded["input_ids"], key=len):
        if batches[-1] and (len(batches[-1]) + 1) * len(row) > max_tokens:
            batches.append([])
        batches[-1].append(row)
    rng.shuffle(batches)
    return batches


def _loss(model: LlamaForCausalLM, ids: Tensor, tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Return the weighted cross-entropy of the next token; `ids` has shape `[conversations, tokens]`."""
    logits, targets = model(input_ids=ids, use_cache=False).logits[:, :-1], ids[:, 1:]
    losses = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    closes_reply = (ids[:, :-1] == tokenizer.eos_token_id).float()
    width = closes_reply.size(1)
    reacts = sum(functional.pad(closes_reply, (shift, 0))[:, :width] for shift in range(REACTION_LENGTH))
    assert isinstance(reacts, Tensor)
    weights = (1 + (REACTION_WEIGHT - 1) * reacts.clamp(max=1)) * (targets != tokenizer.pad_token_id)
    mean: Tensor = (losses * weights).sum() / weights.sum()
    return mean


if __name__ == "__main__":
    main()
