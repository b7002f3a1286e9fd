"""The demo's arms: each is trained from the shipped starting model and measured, in a process of its own."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from music.pairs import PreferencePair
from music.sandbox.artifacts import REWARD_MODEL
from music_trainers.demo.measures import Measures, TestSets, measure
from music_trainers.demo.pairs import ARMS
from music_trainers.demo.records import DemoConfig, TrainedArm

__all__ = ["Arm", "train_arms"]

LEARNING_RATE = 1e-3
BATCH_SIZE = 8


@dataclass(frozen=True, slots=True)
class Arm:
    """A trained arm, and what was measured of it.

    Attributes:
        trained: How it was trained.
        measures: Of its reward: one scalar for the whole conversation.
        prefix_mean: Of the mean of its rewards over the turns, for the last-turn arm.
    """

    trained: TrainedArm
    measures: Measures
    prefix_mean: Measures | None


def train_arms(
    config: DemoConfig,
    base: Sequence[PreferencePair],
    contrastive: Mapping[str, Sequence[PreferencePair]],
    sets: TestSets,
) -> Iterator[Arm]:
    """Train and measure all arms at the same time; yield each when it is done."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(contrastive), mp_context=context, initializer=_one_thread) as pool:
        futures = [pool.submit(_run, config, name, [*base, *pairs], sets) for name, pairs in contrastive.items()]
        for future in as_completed(futures):
            yield future.result()


def _one_thread() -> None:
    """Give each process one core: small models gain nothing from more."""
    import torch

    torch.set_num_threads(1)


def _run(config: DemoConfig, name: str, pairs: list[PreferencePair], sets: TestSets) -> Arm:
    """Train one arm and measure it."""
    from music.reward import RewardModel
    from music_trainers.reward.config import RewardTrainingConfig
    from music_trainers.reward.trainer import train_reward_model

    training = RewardTrainingConfig(
        base=str(REWARD_MODEL),
        out=config.out / "models" / name,
        learning_rate=LEARNING_RATE,
        batch_size=BATCH_SIZE,
        seed=config.seed,
        eval_fraction=0.0,
        checkpoint_every=0,
    )
    result = train_reward_model(training, pairs, [])
    model = RewardModel.from_pretrained(training.out)
    tail = result.losses[-max(1, len(result.losses) // 10) :]
    trained = TrainedArm(
        name=name,
        description=ARMS[name],
        num_pairs=result.pairs.num_used,
        num_steps=result.num_steps,
        num_tokens=result.num_tokens,
        seconds=result.seconds,
        loss=sum(tail) / len(tail),
    )
    control = measure(model.with_readout("turn_mean"), sets, config.seed) if name == "last-turn" else None
    return Arm(trained, measure(model, sets, config.seed), control)
