"""Contenders of the reward-training benchmarks: TRL's trainer, a padded loop by hand, and loops over packed rows.

Each takes an AdamW step per batch of pairs, with the gradient's norm clipped at 1, which is TRL's default.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from benchmarks.reward_models import PAD, Pair, pad
from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.forward import PackedScorer

__all__ = [
    "LEARNING_RATE",
    "PAIRS_PER_STEP",
    "ROW_TOKENS",
    "check_agreement",
    "loop",
    "packed_rewards",
    "padded_rewards",
    "sequences",
    "sides",
    "trl_trainer",
    "unshared_rewards",
]

PAIRS_PER_STEP = 8
ROW_TOKENS = 2_048
LEARNING_RATE = 1e-5


def sides(pairs: Sequence[Pair]) -> list[list[int]]:
    """Return all chosen sides, then all rejected ones."""
    return [pair[0] for pair in pairs] + [pair[1] for pair in pairs]


def sequences(pairs: Sequence[Pair]) -> list[list[TokenSequence]]:
    """Return the groups of sequences for the planner of packed rows."""
    return [[TokenSequence.read_at_end(side) for side in pair] for pair in pairs]


def loop(
    model: nn.Module, batches: Sequence[Sequence[Pair]], rewards: Callable[[Any, Sequence[Pair]], Iterator[Tensor]]
) -> Callable[[], None]:
    """Return a function that runs one epoch: for each batch the gradients of its micro-batches, then an AdamW step.

    Args:
        model: The model that `rewards` calls.
        batches: One batch per optimizer step.
        rewards: Yields the rewards of each micro-batch, `[pairs, 2]`.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)

    def epoch() -> None:
        model.train()
        for batch in batches:
            for micro_batch in rewards(model, batch):
                chosen, rejected = micro_batch.unbind(1)
                (-nn.functional.logsigmoid(chosen - rejected).sum() / len(batch)).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return epoch


def padded_rewards(model: PreTrainedModel, batch: Sequence[Pair]) -> Iterator[Tensor]:
    """Yield the rewards of a batch from transformers' own forward pass."""
    logits: Tensor = model(**pad(sides(batch)), use_cache=False).logits
    yield logits.view(2, len(batch)).T


def packed_rewards(scorer: PackedScorer, batch: Sequence[Pair], **settings: Any) -> Iterator[Tensor]:
    """Yield the rewards of a batch's rows; planning is part of the time."""
    for row in plan_rows(sequences(batch), ROW_TOKENS, **settings).rows:
        yield scorer(row).view(-1, 2)


def unshared_rewards(scorer: PackedScorer, batch: Sequence[Pair]) -> Iterator[Tensor]:
    """Yield the same rewards with every side stored whole."""
    yield from packed_rewards(scorer, batch, min_saved=None)


@torch.no_grad()
def check_agreement(model: PreTrainedModel, batch: Sequence[Pair]) -> None:
    """Raise an error unless both ways compute the same rewards."""
    expected = torch.cat(list(padded_rewards(deepcopy(model), batch))).sum(0)
    found = torch.cat(list(packed_rewards(PackedScorer(deepcopy(model)), batch))).sum(0)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def trl_trainer(model: PreTrainedModel, pairs: Sequence[Pair], scratch: str, **settings: Any) -> Any:
    """Return TRL's trainer on tokenized pairs; `settings` are those of its configuration."""
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers.trainer_callback import PrinterCallback
    from trl import RewardConfig, RewardTrainer  # type: ignore[attr-defined]

    words = WordLevel({str(token): token for token in range(model.config.vocab_size)}, unk_token=str(PAD))
    data = Dataset.from_dict({"chosen_ids": [a for a, _ in pairs], "rejected_ids": [b for _, b in pairs]})
    config = RewardConfig(
        output_dir=scratch,
        num_train_epochs=1,
        learning_rate=LEARNING_RATE,
        max_length=None,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **settings,
    )
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(words), pad_token=str(PAD)
    )
    trainer = RewardTrainer(model=model, args=config, train_dataset=data, processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    return trainer
