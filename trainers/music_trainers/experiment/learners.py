"""Learners: how the pairs of an arm become a reward model that measures can ask for rewards.

- `GradientLearner` trains all weights: of the sandbox's starting model as `music demo` does, or of any base as
  `music train` does.
- `HeadLearner` fits a head to hidden states from a table, as `music train --freeze backbone` does.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.preferences import seed_key
from music.reward import RewardModel
from music.reward.loading import LoadedCheckpoint, load_checkpoint
from music.reward.tokens.encoding import ConversationTokenizer
from music.sandbox.artifacts import REWARD_MODEL
from music_trainers.arms import last_loss, train_arm
from music_trainers.experiment.arm import ModelSettings
from music_trainers.experiment.measures import Scoring
from music_trainers.experiment.pairs import Pairs
from music_trainers.experiment.states import EncodedPairs, StateTable, read_table
from music_trainers.frozen.head import Comparisons, choose_ridge, fit_heads
from music_trainers.reward.config import Objective, RewardTrainingConfig
from music_trainers.reward.mixture import Mixture, PairSource
from music_trainers.reward.records import RewardTrainingResult
from music_trainers.reward.trainer import train_reward_model

__all__ = ["GradientLearner", "HeadLearner", "Learner", "Trained", "load_start", "make_learner"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A reward model and the figures of its training.

    Attributes:
        model: The reward model.
        num_pairs: Number of training pairs by source, without those that cannot be used.
        num_steps: Steps of the optimizer.
        num_tokens: Tokens of the training pairs.
        loss: Mean Bradley-Terry loss at the end; 0 without training.
        seconds: Duration.
    """

    model: Scoring
    num_pairs: dict[str, int]
    num_steps: int
    num_tokens: int
    loss: float
    seconds: float


class Learner(Protocol):
    """Makes reward models of pairs."""

    def count_tokens(self, pairs: Sequence[PreferencePair]) -> list[int]:
        """Return the number of tokens on both sides of each pair; 0 for a pair that cannot be trained on."""
        ...

    def train(self, pairs: Pairs, weights: Mapping[str, float], seed: int) -> Trained:
        """Train a reward model.

        Args:
            pairs: The pairs by source; without any, the starting model is unchanged.
            weights: Weights of the sources, by default 1.
            seed: Seed of the training.
        """
        ...


def make_learner(settings: ModelSettings | None, table: Path | None) -> Learner:
    """Return the learner of a grid; `table` is the file of hidden states of a frozen backbone."""
    if settings is None or settings.freeze == "none":
        return GradientLearner(settings)
    assert table is not None, "the states of a frozen backbone are computed before the cells"
    return HeadLearner(settings, read_table(table))


@dataclass(frozen=True)
class GradientLearner:
    """Trains all weights by gradient descent.

    Attributes:
        settings: The base; None for the sandbox's starting model.
    """

    settings: ModelSettings | None

    def count_tokens(self, pairs: Sequence[PreferencePair]) -> list[int]:
        """Return the number of tokens on both sides of each pair; 0 for a pair that cannot be trained on."""
        return EncodedPairs(_start_tokens(self.settings)).count_tokens(pairs)

    def train(self, pairs: Pairs, weights: Mapping[str, float], seed: int) -> Trained:
        """Train a reward model; the training readout is `last`."""
        used = tuple(PairSource(name, some, weights.get(name, 1.0)) for name, some in pairs.items() if some)
        if not used:
            start = RewardModel.from_pretrained(self.settings.base if self.settings else REWARD_MODEL)
            num_pairs = dict.fromkeys(pairs, 0)
            model = start.with_readout("last")
            return Trained(model=model, num_pairs=num_pairs, num_steps=0, num_tokens=0, loss=0.0, seconds=0.0)
        with TemporaryDirectory() as scratch:
            result = self._run(Mixture(used), Path(scratch), seed)
            model = RewardModel.from_pretrained(scratch).with_own_weights()
        return Trained(
            model=model,
            num_pairs=dict.fromkeys(pairs, 0) | {source.name: source.pairs.num_used for source in result.sources},
            num_steps=result.num_steps,
            num_tokens=result.num_tokens,
            loss=last_loss(result),
            seconds=result.seconds,
        )

    def _run(self, mixture: Mixture, out: Path, seed: int) -> RewardTrainingResult:
        if self.settings is None:
            return train_arm(mixture, out, seed)
        given = {name: getattr(self.settings, name) for name in ("learning_rate", "batch_size")}
        config = RewardTrainingConfig(
            base=self.settings.base,
            out=out,
            objective=Objective(readout="last"),
            max_length=self.settings.max_length,
            seed=seed,
            eval_fraction=0.0,
            checkpoint_every=0,
            overwrite=True,
            **{name: value for name, value in given.items() if value is not None},
        )
        return train_reward_model(config, mixture, [])


@dataclass(frozen=True)
class HeadLearner:
    """Fits heads to the hidden states of a frozen backbone.

    Attributes:
        settings: The base.
        table: The hidden states.
    """

    settings: ModelSettings
    table: StateTable

    def count_tokens(self, pairs: Sequence[PreferencePair]) -> list[int]:
        """Return the number of tokens on both sides of each pair; 0 for a pair that cannot be trained on."""
        return self.table.count_tokens(pairs)

    def train(self, pairs: Pairs, weights: Mapping[str, float], seed: int) -> Trained:
        """Fit a head to the last states of both sides, with the ridge that held-out pairs choose."""
        began = time.perf_counter()
        sized = {name: list(zip(some, self.count_tokens(some), strict=True)) for name, some in pairs.items()}
        num_pairs = {name: sum(size > 0 for _, size in some) for name, some in sized.items()}
        num_tokens = sum(size for some in sized.values() for _, size in some)
        used = [(pair, weights.get(name, 1.0)) for name, some in sized.items() for pair, size in some if size]
        if not used:
            assert self.table.head is not None, "a base without a head is refused before the cells"
            *weight, bias = self.table.head.tolist()
            model = HeadModel(self.settings, self.table, np.array(weight), bias)
            return Trained(model=model, num_pairs=num_pairs, num_steps=0, num_tokens=0, loss=0.0, seconds=0.0)
        sides = self.table.sides(pair for pair, _ in used).astype(np.float64)
        comparisons = Comparisons.of(sides[:, 0] - sides[:, 1], [weight for _, weight in used], None)
        ridge, _ = choose_ridge(comparisons, [seed_key(pair) for pair, _ in used], seed=seed)
        fit = next(fit_heads(comparisons, [ridge]))
        return Trained(
            model=HeadModel(self.settings, self.table, fit.weight, 0.0),
            num_pairs=num_pairs,
            num_steps=fit.num_iterations,
            num_tokens=num_tokens,
            loss=comparisons.nll(fit.weight),
            seconds=time.perf_counter() - began,
        )


@dataclass(frozen=True)
class HeadModel:
    """A head on a frozen backbone.

    Attributes:
        settings: The base.
        table: The hidden states of all test conversations.
        weight: The head, `[hidden_size]`.
        bias: Its bias.
    """

    settings: ModelSettings
    table: StateTable
    weight: NDArray[np.float64]
    bias: float

    def score_turns(self, conversations: Sequence[Conversation]) -> list[list[float]]:
        """Return the reward after each assistant turn of test conversations."""
        return [(self.table.turns(each) @ self.weight + self.bias).tolist() for each in conversations]

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """Return the reward at the end of any conversations, for which the backbone is run."""
        return self._whole.score(conversations)

    @cached_property
    def _whole(self) -> RewardModel:
        """The backbone with this head. Greedy Best-of-N needs it, as it makes new conversations."""
        loaded = load_start(self.settings)
        head = torch.nn.Linear(len(self.weight), 1)
        head.weight.data.copy_(torch.from_numpy(self.weight)[None])
        head.bias.data.fill_(self.bias)
        loaded.classifier.score = head
        return RewardModel(loaded.classifier, loaded.tokens)


def load_start(settings: ModelSettings | None) -> LoadedCheckpoint:
    """Load the model that arms start from, with the readout `last`; a language model gets a new head."""
    base, max_length = (settings.base, settings.max_length) if settings else (REWARD_MODEL, None)
    return load_checkpoint(base, dtype=torch.float32, head_seed=0, max_length=max_length, readout="last")


@cache
def _start_tokens(settings: ModelSettings | None) -> ConversationTokenizer:
    return load_start(settings).tokens
