"""Readouts: each arm's best readout is chosen on one half of the prompts and compared with `last` on the other half.

A readout that is chosen and tested on the same prompts looks better than it is. So the prompts of a measure are divided
into a development half and a confirmation half.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from music.reward.tokens.contract import Readout
from music.statistics import Estimate, crossed_difference
from music_trainers.experiment.measures import READOUTS, MeasureInfo
from music_trainers.experiment.values import CellValues, Floats

__all__ = ["ReadoutChoice", "choose_readouts", "is_development"]


class ReadoutChoice(BaseModel):
    """The readout that one arm's development half chooses for one measure, and its test on the confirmation half."""

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="strings")

    measure: str
    arm: str
    development: dict[Readout, float]
    """Mean over seeds and items of the development half, by readout."""
    chosen: Readout
    """The readout with the highest of these means; of equal ones the first."""
    estimate: Estimate | None
    """The chosen readout minus `last` on the confirmation half; None if `last` is chosen."""
    by_seed: tuple[float, ...]
    """The same in each seed; empty if `last` is chosen."""
    p_value: float | None
    """Two-sided and unadjusted; None if `last` is chosen."""


def is_development(prompts: Sequence[str]) -> NDArray[np.bool_]:
    """Return which items belong to the development half; shape `[items]`.

    The prompts with the smaller hashes do, half of them or one fewer. Prompts are never divided.

    Args:
        prompts: The prompt of each item.
    """
    ordered = sorted(set(prompts), key=lambda prompt: sha256(f"readout\0{prompt}".encode()).digest())
    chosen = set(ordered[: len(ordered) // 2])
    return np.array([prompt in chosen for prompt in prompts], dtype=np.bool_)


def choose_readouts(values: CellValues, infos: Iterable[MeasureInfo], arms: Sequence[str]) -> Iterator[ReadoutChoice]:
    """Yield the choice of every arm for every compared measure whose values depend on the readout.

    Measures with a single prompt cannot be divided and are left out.
    """
    for info in infos:
        development = is_development(info.clusters)
        if info.by_readout and info.compared and development.any():
            for arm in arms:
                tables = {readout: values.table(arm, info.name, readout, values.seeds(arm)) for readout in READOUTS}
                yield _choice(info, arm, tables, development)


def _choice(
    info: MeasureInfo, arm: str, tables: dict[Readout, Floats], development: NDArray[np.bool_]
) -> ReadoutChoice:
    """Choose one arm's readout for one measure, and test it."""
    means = {readout: float(table[:, development].mean()) for readout, table in tables.items()}
    chosen = max(means, key=means.__getitem__)
    if chosen == "last":
        return ReadoutChoice(
            measure=info.name, arm=arm, development=means, chosen=chosen, estimate=None, by_seed=(), p_value=None
        )
    ours, theirs = tables[chosen][:, ~development], tables["last"][:, ~development]
    prompts = [prompt for prompt, is_chosen in zip(info.clusters, development, strict=True) if not is_chosen]
    found = crossed_difference(ours, theirs, clusters=prompts)
    return ReadoutChoice(
        measure=info.name,
        arm=arm,
        development=means,
        chosen=chosen,
        estimate=found.estimate,
        by_seed=tuple(float(gain) for gain in (ours - theirs).mean(axis=1)),
        p_value=found.p_value,
    )
