"""`train_reward_head`: fit the head of a reward model to the hidden states of a backbone that stays the same.

It saves what `train_reward_model` saves: an `AutoModelForSequenceClassification`, its tokenizer, the score contract and
`training.json`. All weights but the head's are those of the base.
"""

import os
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from importlib.metadata import version

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from music.errors import InvalidInputError, MusicError
from music.files import sync_folder, whole_file
from music.pairs import PreferencePair
from music.reward.loading import LoadedCheckpoint, count_text, save_model
from music.reward.tokens.contract import RewardStatistics
from music_trainers.frozen.comparisons import TrainingComparisons, read_features
from music_trainers.frozen.features import Counting, FrozenBackbone, States
from music_trainers.frozen.head import RIDGES, Array, HeadFit, RidgeTrial, choose_ridge, fit_heads
from music_trainers.frozen.records import RewardHeadResult
from music_trainers.reward.checkpoints import Checkpoints
from music_trainers.reward.config import CHECKPOINT_FOLDER, RECORD_FILE, RewardTrainingConfig
from music_trainers.reward.mixture import Mixture, TrainingData
from music_trainers.reward.optimizer import held_out_metrics
from music_trainers.reward.progress import format_pairs
from music_trainers.reward.records import HeldOutMetrics
from music_trainers.reward.trainer import hold_out, load_base, setting_notes

__all__ = ["FEATURE_FOLDER", "train_reward_head"]

FEATURE_FOLDER = "features"
_Sides = Sequence[tuple[States, States]]


def train_reward_head(
    config: RewardTrainingConfig,
    pairs: Sequence[PreferencePair] | Mixture,
    eval_pairs: Sequence[PreferencePair] | None = None,
    *,
    on_notice: Callable[[str], None] = lambda line: None,
    counting: Counting | None = None,
) -> RewardHeadResult:
    """Fit a head to a frozen backbone, and save the reward model to `config.out`.

    A killed run resumes where it was: hidden states on disk are not computed again.

    Args:
        config: The settings, with `freeze="backbone"`.
        pairs: The training pairs; a `Mixture` for several sources with weights, or for pairs with margins.
        eval_pairs: Held-out pairs; if None, `config.eval_fraction` of the seed conversations are held out of `pairs`.
        on_notice: Called with each line on the run before it computes anything.
        counting: Displays the progress over the conversations that are computed.

    Raises:
        InvalidInputError: No pair is left to train on or to measure on, the base cannot be used, there are too few
            prompts to choose a ridge, the readout is `turn_min`, or `config.out` already holds a model.
        MusicError: A file cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from music.preferences import read_preferences
        >>> from music_trainers import RewardTrainingConfig, train_reward_head
        >>> config = RewardTrainingConfig(base="Qwen/Qwen2.5-0.5B-Instruct", out=Path("runs/rm"), freeze="backbone")
        >>> result = train_reward_head(config, read_preferences("pairs.parquet").pairs)
        >>> print(result.ridge, result.after)
    """
    _require_support(config)
    config.require_unfinished()
    mixture, held_out, overlap = hold_out(config, pairs, eval_pairs)
    asked, (config, loaded) = config, load_base(config)
    _require_support(config)  # the readout can be the base's
    data = TrainingData.encode(loaded.tokens, mixture, held_out, every_turn=config.objective.reads_turns)
    data.require_pairs(config)
    notes = list(setting_notes(asked, config, overlap))
    base_config, own_head = deepcopy(loaded.classifier.config), _head_of(loaded)
    backbone = _backbone(config, loaded)
    description = _description(config, loaded)
    for line in (description, *notes, *format_pairs(data.accounting, data.sources, data.held_out_accounting)):
        on_notice(line)

    began = time.perf_counter()
    train, test = _states(backbone, data, counting)
    computed = time.perf_counter()
    fit, trials = _fit(config, data, train)
    fitted = time.perf_counter()

    weight = torch.from_numpy(fit.weight).float()  # what is measured is what is saved
    before, _ = _measure(config, test, *own_head)
    after, statistics = _measure(config, test, weight.double().numpy())
    notes += _notes(before, after, trials)
    result = RewardHeadResult(
        config=config,
        description=description,
        pairs=data.accounting,
        sources=data.sources,
        held_out=data.held_out_accounting,
        before=before,
        after=after,
        ridge=fit.ridge,
        trials=tuple(trials),
        num_iterations=fit.num_iterations,
        hidden_size=len(weight),
        num_computed_states=backbone.num_computed,
        num_cached_states=backbone.num_cached,
        features=str(backbone.folder),
        notes=tuple(notes),
        seconds_of_states=computed - began,
        seconds_of_fit=fitted - computed,
        versions={name: version(name) for name in ("torch", "transformers", "scipy")},
    )
    loaded.classifier.config = base_config
    _put_head(loaded, weight)
    _save(loaded, statistics, result)
    return result


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


def _description(config: RewardTrainingConfig, loaded: LoadedCheckpoint) -> str:
    classifier = loaded.classifier
    head = "new head" if loaded.new_head else "its own head is replaced"
    name, size, readout = type(classifier).__name__, count_text(classifier), config.objective.readout
    return f"{name} ({size}, {head}) on {classifier.device} in fp32, frozen, readout {readout}"


def _head_of(loaded: LoadedCheckpoint) -> tuple[Array, float]:
    """Return weight and bias of the base's head."""
    head: nn.Linear = loaded.classifier.score  # type: ignore[assignment]
    return head.weight[0].detach().double().numpy(), 0.0 if head.bias is None else head.bias.item()


def _states(backbone: FrozenBackbone, data: TrainingData, counting: Counting | None) -> tuple[_Sides, _Sides]:
    """Return the hidden states of both sides of the training pairs and of the held-out pairs."""
    pairs = (*data.train, *data.held_out)
    states = backbone.states([side for pair in pairs for side in (pair.chosen, pair.rejected)], counting)
    sides = list(zip(states[::2], states[1::2], strict=True))
    return sides[: len(data.train)], sides[len(data.train) :]


def _fit(config: RewardTrainingConfig, data: TrainingData, states: _Sides) -> tuple[HeadFit, list[RidgeTrial]]:
    """Choose a ridge unless one is given, and fit the head to all training pairs."""
    objective = config.objective
    weights = [source.weight for source in data.sources for _ in range(source.pairs.num_used)]
    train = TrainingComparisons.of(objective, data.train, states, weights)
    ridge, trials = config.ridge, list[RidgeTrial]()
    if ridge is None:
        ridge, trials = choose_ridge(
            train.comparisons,
            train.prompts,
            is_pair=train.is_pair,
            label_smoothing=objective.label_smoothing,
            seed=config.seed,
        )
    return next(fit_heads(train.comparisons, [ridge], objective.label_smoothing)), trials


def _measure(
    config: RewardTrainingConfig, sides: _Sides, weight: Array, bias: float = 0.0
) -> tuple[HeldOutMetrics | None, RewardStatistics | None]:
    """Return the metrics of a head on held-out pairs, and the statistics of its scores; None without such pairs."""
    if not sides:
        return None, None
    readout = config.objective.readout
    scores = [[read_features(readout, side) @ weight + bias for side in pair] for pair in sides]
    return held_out_metrics(torch.from_numpy(np.array(scores)))


def _notes(before: HeldOutMetrics | None, after: HeldOutMetrics | None, trials: Sequence[RidgeTrial]) -> list[str]:
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


def _put_head(loaded: LoadedCheckpoint, weight: torch.Tensor) -> None:
    """Give the model this head. A bias, which no comparison depends on, is left out."""
    classifier = loaded.classifier
    head = nn.Linear(len(weight), 1, bias=False, device=classifier.device)
    head.weight.data.copy_(weight[None])
    classifier.score = head


def _save(loaded: LoadedCheckpoint, statistics: RewardStatistics | None, result: RewardHeadResult) -> None:
    """Save a vanilla checkpoint, its tokenizer, its contract and the record.

    Raises:
        MusicError: A file cannot be written, for example because the disk is full.
    """
    out = result.config.out
    tokens = loaded.tokens.with_contract(reference=statistics)
    (out / RECORD_FILE).unlink(missing_ok=True)  # of the model that this one replaces, if any
    try:
        save_model(loaded.classifier, tokens.tokenizer, out)
        tokens.contract.save(out)
        sync_folder(out)  # before the record, which says that the rest is there
        with whole_file(out / RECORD_FILE) as file:
            file.write(result.model_dump_json(indent=2).encode() + b"\n")
        Checkpoints(out / CHECKPOINT_FOLDER, {}, keep=1).remove()  # of an unfinished run that this one replaces
    except (OSError, SafetensorError) as error:
        raise MusicError(
            f"--out {out}: the model could not be written ({error}): fix that and run again; hidden states on disk are "
            "not computed again"
        ) from error
