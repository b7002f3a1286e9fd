"""Rebuild the two small models that ship with the sandbox: `python -m music_trainers.backbone`, or `make backbone`.

They stand in for the paper's starting points: a language-model backbone (Gemma-2-9B-it there; here a four-layer Llama
pretrained on the world's own text) and a reward model trained from it on pairs that differ in the last turn only (as
Skywork's do). Everything follows from a seed and fixed step counts; wall time is about a quarter of an hour on one core.
"""

import itertools
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, get_cosine_schedule_with_warmup

from music.sandbox import corpus

__all__ = ["BackboneConfig", "build_tokenizer", "pretrain"]

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}<|assistant_end|>{% endgeneration %}"
    "{% else %}{{ message['content'] }}<|{{ message['role'] }}_end|>{% endif %}"
    "{% endfor %}"
)
"""Every message is closed by a token that names its side, so the reward is read where the next speaker would react."""


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """What makes the backbone.

    Attributes:
        seed: Seeds text, initial weights and order.
        num_steps: Optimizer steps.
        tokens_per_step: Tokens in a step's batch, padding included. Many small steps teach more than few large ones.
        learning_rate: Peak, after a warm-up of `num_warmup_steps` and before a cosine to zero.
        num_warmup_steps: Steps of linear warm-up.
        hidden_size: Width.
        num_layers: Depth.
    """

    seed: int = 0
    num_steps: int = 9000
    tokens_per_step: int = 1000
    learning_rate: float = 3e-3
    num_warmup_steps: int = 200
    hidden_size: int = 96
    num_layers: int = 4


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on the world's text: its words become single tokens, and any other text can be encoded."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "<|system_end|>", "<|user_end|>", "<|assistant_end|>"]
    texts = (message.content for talk in corpus.conversations(3000, seed) for message in talk.messages)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=1024, initial_alphabet=alphabet, special_tokens=special, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="<|assistant_end|>",
        pad_token="<pad>",
        additional_special_tokens=["<|system_end|>", "<|user_end|>"],
        model_max_length=2048,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def pretrain(config: BackboneConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Pretrain the language model on next-token prediction over the world's text."""
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(_architecture(config, tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01, fused=True)
    schedule = get_cosine_schedule_with_warmup(optimizer, config.num_warmup_steps, config.num_steps)
    start, loss_sum = time.monotonic(), 0.0
    for step, ids in enumerate(itertools.islice(_batches(config, tokenizer), config.num_steps), 1):
        labels = ids.masked_fill(ids == tokenizer.pad_token_id, -100)
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss_sum += loss.item()
        if step % 200 == 0:
            print(
                f"step {step}/{config.num_steps}  loss {loss_sum / 200:.4f}  {time.monotonic() - start:.0f} s",
                flush=True,
            )
            loss_sum = 0.0
    return model


def _architecture(config: BackboneConfig, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Describe the Llama."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        intermediate_size=math.ceil(config.hidden_size * 8 / 3 / 32) * 32,
        num_hidden_layers=config.num_layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _batches(config: BackboneConfig, tokenizer: PreTrainedTokenizerFast) -> Iterator[Tensor]:
    """Yield right-padded batches of whole conversations of about the same length, without end."""
    rng = random.Random(config.seed)
    for chunk in itertools.count():
        talks = [talk.to_messages() for talk in corpus.conversations(512, config.seed * 100_000 + chunk)]
        rows = sorted(tokenizer.apply_chat_template(talks, return_dict=True)["input_ids"], key=len)
        batches: list[list[list[int]]] = [[]]
        for row in rows:
            if batches[-1] and (len(batches[-1]) + 1) * len(row) > config.tokens_per_step:
                batches.append([])
            batches[-1].append(row)
        rng.shuffle(batches)
        for batch in batches:
            yield tokenizer.pad({"input_ids": batch}, return_tensors="pt")["input_ids"]
