from collections.abc import Callable
from pathlib import Path

import pytest

from music_trainers import RewardTrainingConfig


@pytest.fixture(scope="session")
def base(language_checkpoint: Callable[..., Path]) -> str:
    """Return the folder of a language model."""
    return str(language_checkpoint())


@pytest.fixture
def make_config(base: str, tmp_path: Path) -> Callable[..., RewardTrainingConfig]:
    """Return a maker of settings for a frozen backbone."""

    def make(**changes: object) -> RewardTrainingConfig:
        settings = {"base": base, "out": tmp_path / "rm", "freeze": "backbone", "eval_fraction": 0.2, "device": "cpu"}
        return RewardTrainingConfig.model_validate(settings | changes)

    return make
