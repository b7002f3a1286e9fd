"""What selectors that are no reward models reach in Best-of-N: a random choice, the longest candidate, the oracle."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from music.reward.functions import RewardFunction, length_reward, random_reward
from music.sandbox import oracle_score
from music_trainers.experiment.cell import Readings, readings
from music_trainers.experiment.store import write_whole
from music_trainers.miniature.measures import TestSizes, draw_test_sets, measure

__all__ = ["References", "read_references"]


class References(BaseModel):
    """What each of them selects on the test conversations of a grid."""

    model_config = ConfigDict(frozen=True)

    sizes: TestSizes
    test_seed: int
    readings: dict[str, Readings]
    """By selector, `random`, `longest` or `oracle`; of Best-of-N alone."""


def read_references(sizes: TestSizes, test_seed: int, path: Path) -> References:
    """Read what was measured before on these test conversations, or measure it and keep it."""
    if path.exists():
        kept = References.model_validate_json(path.read_bytes())
        if (kept.sizes, kept.test_seed) == (sizes, test_seed):
            return kept
    selectors: dict[str, RewardFunction] = {
        "random": random_reward(test_seed),
        "longest": length_reward,
        "oracle": oracle_score,
    }
    sets = draw_test_sets(sizes, test_seed, {})
    measured = {name: measure(reward, sets, test_seed, pairs=False) for name, reward in selectors.items()}
    found = References(
        sizes=sizes, test_seed=test_seed, readings={name: readings(measures) for name, measures in measured.items()}
    )
    write_whole(path, found.model_dump_json() + "\n")
    return found
