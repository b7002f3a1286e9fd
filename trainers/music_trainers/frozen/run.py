"""`train_reward_head`: fit the head of a reward model to the hidden states of a backbone that stays the same.

It saves what `train_reward_model` saves: an `AutoModelForSequenceClassification`, its tokenizer, the score contract and
`training.json`. All weights but the head's are those of the base.
"""

import time
from collections.abc import Callable, Sequence

import torch
from safetensors import SafetensorError

from music.errors import MusicError
from music.files import locked_folder, sync_folder, whole_file
from music.pairs import PreferencePair
from music.reward.loading import LoadedCheckpoint, save_model
from music.reward.tokens.contract import RewardStatistics
from music_trainers.frozen.features import Counting
from music_trainers.frozen.head_run import HeadRun
from music_trainers.frozen.records import RewardHeadResult
from music_trainers.reward.card import write_model_card
from music_trainers.reward.checkpoints import Checkpoints
from music_trainers.reward.config import CHECKPOINT_FOLDER, RECORD_FILE, RewardTrainingConfig
from music_trainers.reward.mixture import Mixture

__all__ = ["train_reward_head"]


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
            prompts to choose a ridge, the readout is `turn_min`, or `config.out` already holds a model or another run.
        MusicError: A file cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from music.preferences import read_preferences
        >>> from music_trainers import RewardTrainingConfig, train_reward_head
        >>> config = RewardTrainingConfig(base="Qwen/Qwen2.5-0.5B-Instruct", out=Path("runs/rm"), freeze="backbone")
        >>> result = train_reward_head(config, read_preferences("pairs.parquet").pairs)
        >>> print(result.ridge, result.after)
    """
    config.require_unfinished()
    with locked_folder(config.out):
        run = HeadRun.prepare(config, pairs, eval_pairs)
        for line in run.announcement():
            on_notice(line)
        return _fit(run, counting)


def _fit(run: HeadRun, counting: Counting | None) -> RewardHeadResult:
    """Compute the states, fit and measure the head, and save the model."""
    began = time.perf_counter()
    train, test = run.states(counting)
    computed = time.perf_counter()
    fit, trials = run.fit(train)
    seconds = computed - began, time.perf_counter() - computed
    weight = torch.from_numpy(fit.weight).float()  # what is measured is what is saved
    before, _ = run.measure(test, *run.own_head)
    after, statistics = run.measure(test, weight.double().numpy())
    result = run.record(before, after, fit, trials, seconds)
    run.put_head(weight)
    _save(run.loaded, statistics, result)
    return result


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
        write_model_card(result, tokens.contract)
        sync_folder(out)  # before the record, which says that the rest is there
        with whole_file(out / RECORD_FILE) as file:
            file.write(result.model_dump_json(indent=2).encode() + b"\n")
        Checkpoints(out / CHECKPOINT_FOLDER, {}, keep=1).remove()  # of an unfinished run that this one replaces
    except (OSError, SafetensorError) as error:
        raise MusicError(
            f"--out {out}: the model could not be written ({error}): fix that and run again; hidden states on disk are "
            "not computed again"
        ) from error
