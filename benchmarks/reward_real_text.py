"""Reward-model training on a file of pairs with the first layers of a language model: the trainer and both baselines.

All use the same pairs, read at the last token, 8 pairs per AdamW step, in fp32. They are TRL's trainer without
recomputed activations (its fastest settings, except the order of pairs, which is random as by default), a loop by hand
over batches of about equal length, and `PairOptimizer`, which takes the steps of `music train`. Peak memory is measured
in a process that runs one contender alone.
"""

import random
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from accelerate import Accelerator
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from benchmarks.reward_arms import (
    LEARNING_RATE,
    PAIRS_PER_STEP,
    ROW_TOKENS,
    check_agreement,
    loop,
    padded_rewards,
    sequences,
    sides,
    trl_trainer,
)
from benchmarks.reward_models import PAD, Pair, Timing, interleave, pad
from music.preferences import read_preferences
from music.reward.loading import load_checkpoint
from music.reward.packing import TokenSequence, plan_rows
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.optimizer import PairOptimizer
from music_trainers.reward.pairs import EncodedPair, encode_pairs

__all__ = ["RealText"]

NUM_BUCKETS = 64
TRL, PADDED, OURS = "TRL RewardTrainer", "length buckets, padded", "music train"
Buckets = list[list[Pair]]


@dataclass(frozen=True, slots=True)
class RealText:
    """Models and pairs to measure on.

    Attributes:
        base: Folder of a language model.
        file: File of pairs, in any format that `music train` reads.
        num_layers: Number of first layers of the model to use.
        max_length: Tokens of a conversation; longer ones are cut as by `music train`.
        num_steps: Optimizer steps of a round.
        num_rounds: Measured rounds, after a warm-up round.
    """

    base: Path
    file: Path
    num_layers: int
    max_length: int
    num_steps: int
    num_rounds: int

    def report(self) -> Iterator[str]:
        """Measure, and yield the lines of a table."""
        buckets = self._buckets()
        yield from self._counts(buckets)
        yield "| | useful tokens/s | rounds | x TRL | x padded buckets | peak memory, GB | before the first step |"
        yield "|---|---|---|---|---|---|---|"
        check_agreement(self._model(), buckets[0][:2])
        num_useful = sum(len(side) for bucket in buckets for side in sides(bucket))
        memory = {name: self._memory(name, buckets) for name in (TRL, PADDED, OURS)}
        timings = self._timings(buckets)
        for name, timing in timings.items():
            ratios = (f"{timing.times_faster(timings[baseline]):.2f}" for baseline in (TRL, PADDED))
            peak, before = memory[name]
            cells = (name, timing.rate(num_useful), *ratios, f"{peak:.2f}", f"{before:.2f}")
            yield f"| {' | '.join(cells)} |"

    def _buckets(self) -> Buckets:
        """Return batches of about equally long pairs, from the shortest to the longest of (at most) 512."""
        loaded = load_checkpoint(self.base, dtype=torch.float32, head_seed=0, max_length=self.max_length)
        encoded, _ = encode_pairs(loaded.tokens, list(read_preferences(str(self.file)).pairs))
        pairs = [(_read_part(pair.chosen), _read_part(pair.rejected)) for pair in encoded]
        assert not any(PAD in side for pair in pairs for side in pair), "a token of the text would be taken for padding"
        random.Random(0).shuffle(pairs)
        num_buckets = min(NUM_BUCKETS, len(pairs) // PAIRS_PER_STEP)
        pairs = sorted(pairs[: num_buckets * PAIRS_PER_STEP], key=lambda pair: max(map(len, pair)))
        starts = [(2 * step + 1) * num_buckets // (2 * self.num_steps) for step in range(self.num_steps)]
        return [pairs[i * PAIRS_PER_STEP : (i + 1) * PAIRS_PER_STEP] for i in starts]

    def _counts(self, buckets: Buckets) -> Iterator[str]:
        stored = sum(plan_rows(sequences(batch), ROW_TOKENS).num_tokens for batch in _mixed(buckets))
        padded, shuffled = (
            sum(pad(sides(batch))["input_ids"].numel() for batch in each) for each in (buckets, _mixed(buckets))
        )
        useful = sum(len(side) for bucket in buckets for side in sides(bucket))
        yield (
            f"{self.file.name}: {self.num_steps * PAIRS_PER_STEP} pairs, {useful:,} useful tokens, {stored:,} in "
            f"packed rows, {padded:,} in padded buckets, {shuffled:,} in padded random batches"
        )
        yield ""

    def _model(self) -> PreTrainedModel:
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            self.base, num_labels=1, num_hidden_layers=self.num_layers, dtype=torch.float32
        )
        model.config.pad_token_id = PAD
        return model

    def _contender(self, name: str, buckets: Buckets, scratch: str) -> Callable[[], object]:
        """Return a function that runs all steps once."""
        model = self._model()
        if name == PADDED:
            return loop(model, buckets, padded_rewards)
        batches = _mixed(buckets)
        if name == OURS:
            return _trainer(model, batches)
        settings = {"bf16": False, "use_cpu": True, "gradient_checkpointing": False}
        pairs = [pair for batch in batches for pair in batch]
        train: Callable[[], object] = trl_trainer(model, pairs, scratch, **settings).train
        return train

    def _timings(self, buckets: Buckets) -> dict[str, Timing]:
        with TemporaryDirectory() as scratch:
            contenders = {name: self._contender(name, buckets, scratch) for name in (TRL, PADDED, OURS)}
            return interleave(contenders, self.num_rounds)

    def _memory(self, name: str, buckets: Buckets) -> tuple[float, float]:
        """Return the peak of a new process that runs a contender once, and its peak before the first step."""
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(self._peaks, name, buckets, torch.get_num_threads()).result()

    def _peaks(self, name: str, buckets: Buckets, num_threads: int) -> tuple[float, float]:
        torch.set_num_threads(num_threads)
        with TemporaryDirectory() as scratch:
            run = self._contender(name, buckets, scratch)
            before = _peak()
            run()
        return _peak(), before


def _read_part(sequence: TokenSequence) -> list[int]:
    """Return a side up to the token at which its reward is read, as transformers does."""
    return list(sequence.ids[: sequence.reads[-1] + 1])


def _mixed(buckets: Buckets) -> Buckets:
    """Return batches of the same pairs in random order."""
    pairs = [pair for bucket in buckets for pair in bucket]
    random.Random(0).shuffle(pairs)
    return [pairs[i : i + PAIRS_PER_STEP] for i in range(0, len(pairs), PAIRS_PER_STEP)]


def _trainer(model: PreTrainedModel, batches: Buckets) -> Callable[[], None]:
    """Return a function that runs the steps of `music train`."""
    config = RewardTrainingConfig(base="", out=Path(), micro_batch_tokens=ROW_TOKENS)
    optimizer = PairOptimizer(model.train(), Accelerator(cpu=True), config)
    encoded = [[_encoded(pair, str(number)) for number, pair in enumerate(batch)] for batch in batches]

    def epoch() -> None:
        for batch in encoded:
            optimizer.step(batch, LEARNING_RATE)

    return epoch


def _encoded(pair: Pair, seed: str) -> EncodedPair:
    return EncodedPair(TokenSequence.read_at_end(pair[0]), TokenSequence.read_at_end(pair[1]), seed=seed)


def _peak() -> float:
    """Return this process's peak memory in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
