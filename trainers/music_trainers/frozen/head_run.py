"""`HeadRun`: the phases of a run that fits a head to a frozen backbone, from the settings to the record."""

import os
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeAlias

import numpy as np
import torch
from torch import nn
from transformers import PretrainedConfig

from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.reward.loading import LoadedCheckpoint, count_text
from music.reward.tokens.contract import RewardStatistics
from music_trainers.frozen.comparisons import TrainingComparisons, read_features
from music_trainers.frozen.features import Counting, FrozenBackbone, States
from music_trainers.frozen.head import RIDGES, Array, HeadFit, RidgeTrial, choose_ridge, fit_heads
from music_trainers.frozen.records import RewardHeadResult
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.mixture import Mixture, TrainingData
from music_trainers.reward.optimizer import held_out_metrics
from music_trainers.reward.progress import format_pairs
from music_trainers.reward.records import HeldOutMetrics
from music_trainers.reward.trainer import hold_out, load_base, setting_notes

__all__ = ["FEATURE_FOLDER", "HeadRun"]

FEATURE_FOLDER = "features"
Sides: TypeAlias = Sequence[tuple[States, States]]
"""The hidden states of the chosen and the rejected side of each pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRun:
    """A base, and the pairs that its head is fitted to.

    Attributes:
        config: The settings, with the readout and the longest length of the base.
        loaded: The base.
        base_config: Its configuration; computing states changes the one in `loaded`.
        own_head: Weight and bias of its head.
        data: The pairs.
        backbone: Its hidden states.
        notes: What a user should know before the run.
    """

    config: RewardTrainingConfig
    loaded: LoadedCheckpoint
    base_config: PretrainedConfig
    own_head: tuple[Array, float]
    data: TrainingData
    backbone: FrozenBackbone
    notes: tuple[str, ...]

    @classmethod
    def prepare(
        cls,
        asked: RewardTrainingConfig,
        pairs: Sequence[PreferencePair] | Mixture,
        eval_pairs: Sequence[PreferencePair] | None,
    ) -> "HeadRun":
        """Load the base, tokenize the pairs, and open the hidden states."""
        _require_support(asked)
        asked.require_unfinished()
        mixture, held_out, overlap = hold_out(asked, pairs, eval_pairs)
        config, loaded = load_base(asked)
        _require_support(config)  # the readout can be the base's
        data = TrainingData.encode(loaded.tokens, mixture, held_out, every_turn=config.objective.reads_turns)
        data.require_pairs(config)
        base_config, own_head = deepcopy(loaded.classifier.config), _head_of(loaded)
        backbone = _backbone(config, loaded)
        return cls(
            config=config,
            loaded=loaded,
            base_config=base_config,
            own_head=own_head,
            data=data,
            backbone=backbone,
            notes=(*setting_notes(asked, config, overlap), *_notes_on_states(backbone)),
        )

    @property
    def description(self) -> str:
        """The model, the device and the readout."""
        classifier = self.loaded.classifier
        head = "new head" if self.loaded.new_head else "its own head is replaced"
        name, size, readout = type(classifier).__name__, count_text(classifier), self.config.objective.readout
        return f"{name} ({size}, {head}) on {classifier.device} in fp32, frozen, readout {readout}"

    def announcement(self) -> list[str]:
        """Return the lines on the run before it computes anything."""
        data = self.data
        return [self.description, *self.notes, *format_pairs(data.accounting, data.sources, data.held_out_accounting)]

    def states(self, counting: Counting | None) -> tuple[Sides, Sides]:
        """Return the hidden states of both sides of the training pairs and of the held-out pairs."""
        pairs = (*self.data.train, *self.data.held_out)
        states = self.backbone.states([side for pair in pairs for side in (pair.chosen, pair.rejected)], counting)
        sides = list(zip(states[::2], states[1::2], strict=True))
        return sides[: len(self.data.train)], sides[len(self.data.train) :]

    def fit(self, states: Sides) -> tuple[HeadFit, list[RidgeTrial]]:
        """Choose a ridge unless one is given, and fit the head to all training pairs."""
        objective = self.config.objective
        weights = [source.weight for source in self.data.sources for _ in range(source.pairs.num_used)]
        train = TrainingComparisons.of(objective, self.data.train, states, weights)
        ridge, trials = self.config.ridge, list[RidgeTrial]()
        if ridge is None:
            ridge, trials = choose_ridge(
                train.comparisons,
                train.prompts,
                is_pair=train.is_pair,
                label_smoothing=objective.label_smoothing,
                seed=self.config.seed,
            )
        return next(fit_heads(train.comparisons, [ridge], objective.label_smoothing)), trials

    def measure(
        self, sides: Sides, weight: Array, bias: float = 0.0
    ) -> tuple[HeldOutMetrics | None, RewardStatistics | None]:
        """Return the metrics of a head on held-out pairs, and the statistics of its scores; None without such pairs."""
        if not sides:
            return None, None
        readout = self.config.objective.readout
        scores = [[read_features(readout, side) @ weight + bias for side in pair] for pair in sides]
        return held_out_metrics(torch.from_numpy(np.array(scores)))

    def record(
        self,
        before: HeldOutMetrics | None,
        after: HeldOutMetrics | None,
        fit: HeadFit,
        trials: Sequence[RidgeTrial],
        seconds: tuple[float, float],
    ) -> RewardHeadResult:
        """Return the record of the run."""
        return RewardHeadResult(
            config=self.config,
            description=self.description,
            pairs=self.data.accounting,
            sources=self.data.sources,
            held_out=self.data.held_out_accounting,
            before=before,
            after=after,
            ridge=fit.ridge,
            trials=tuple(trials),
            num_iterations=fit.num_iterations,
            hidden_size=len(fit.weight),
            num_computed_states=self.backbone.num_computed,
            num_cached_states=self.backbone.num_cached,
            features=str(self.backbone.folder),
            notes=(*self.notes, *_notes_on_fit(before, after, trials)),
            seconds_of_states=seconds[0],
            seconds_of_fit=seconds[1],
            versions={name: version(name) for name in ("torch", "transformers", "scipy")},
        )

    def put_head(self, weight: torch.Tensor) -> None:
        """Give the model this head. A bias, which no comparison depends on, is left out."""
        classifier = self.loaded.classifier
        classifier.config = self.base_config
        head = nn.Linear(len(weight), 1, bias=False, device=classifier.device)
        head.weight.data.copy_(weight[None])
        classifier.score = head


def _require_support(config: RewardTrainingConfig) -> None:
    """Refuse settings and launches for which there is `train_reward_model`."""
    if config.freeze != "backbone":
        raise InvalidInputError(
            f"train_reward_head: expected freeze='backbone', got {config.freeze!r}: set it, or call train_reward_model"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InvalidInputError(
            "--freeze backbone: expected one process, got a launch of several: start it without accelerate and torchrun"
        )
    if config.objective.readout == "turn_min":
        raise InvalidInputError(
            "--freeze backbone: expected the readout last, turn_mean or end_weighted, got turn_min, whose loss is not "
            "convex in the head: fit the head with another --readout, then read it with "
            "RewardModel.with_readout('turn_min')"
        )


def _backbone(config: RewardTrainingConfig, loaded: LoadedCheckpoint) -> FrozenBackbone:
    device = None if config.device == "auto" else config.device
    folder = config.features or config.out / FEATURE_FOLDER
    return FrozenBackbone(loaded, folder, device=device, max_tokens=config.micro_batch_tokens)


def _head_of(loaded: LoadedCheckpoint) -> tuple[Array, float]:
    """Return weight and bias of the base's head."""
    head: nn.Linear = loaded.classifier.score  # type: ignore[assignment]
    return head.weight[0].detach().double().numpy(), 0.0 if head.bias is None else head.bias.item()


def _notes_on_states(backbone: FrozenBackbone) -> Iterator[str]:
    """Yield what a user should know about the hidden states on disk."""
    if backbone.has_states_of_others_alone:
        yield f"{backbone.folder.parent} holds hidden states of other bases or contracts, which are not used"


def _notes_on_fit(
    before: HeldOutMetrics | None, after: HeldOutMetrics | None, trials: Sequence[RidgeTrial]
) -> list[str]:
    """Return what a user should know about the fit."""
    notes = []
    if before and after and after.nll > before.nll:
        notes.append(
            f"the fitted head is worse than the base's on the held-out pairs: NLL {after.nll:.4f}, {before.nll:.4f} "
            "before"
        )
    best = min(trials, key=lambda trial: trial.nll, default=None)
    if best is not None and best.ridge in (RIDGES[0], RIDGES[-1]):
        which = "strongest" if best.ridge == RIDGES[0] else "weakest"
        notes.append(f"the {which} ridge that is tried, {best.ridge:g}, is the best: another may be better (--ridge)")
    return notes
