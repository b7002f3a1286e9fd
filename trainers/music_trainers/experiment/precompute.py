"""`make_table`: compute the hidden states that the cells of a frozen backbone need, in one process, before they run.

States are kept in a `StateCache`, so that a killed run computes none of them twice.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from music.errors import InvalidInputError
from music.files import replace_file
from music.pairs import PreferencePair
from music.reward.loading import LoadedCheckpoint
from music_trainers.experiment.arm import ModelSettings
from music_trainers.experiment.cell import CellWork, GridCell, fold_pairs, measured_conversations
from music_trainers.experiment.learners import load_start
from music_trainers.experiment.states import EncodedPairs, StateTable, require_scorable
from music_trainers.frozen.features import Counting, FrozenBackbone

__all__ = ["make_table"]


def make_table(
    path: Path,
    settings: ModelSettings,
    cells: Sequence[GridCell],
    work: CellWork,
    counting: Counting | None,
    on_notice: Callable[[str], None],
) -> None:
    """Compute the hidden states that cells need, and write them as a table.

    Args:
        path: File of the table. The states themselves are in `features` of the settings, or in `features` beside it.
        settings: The base.
        cells: The cells.
        work: What the cells need besides.
        counting: Displays the progress.
        on_notice: Called with a line on the pairs that cannot be trained on.

    Raises:
        InvalidInputError: The base cannot be used, a test conversation cannot be scored, or pairs are missing.
    """
    loaded = load_start(settings)
    if loaded.new_head:
        _require_pairs(settings, cells)
    pairs = EncodedPairs(loaded.tokens)
    training = _training_pairs(cells, work, pairs)
    used = {key: encoded for key, encoded in map(pairs.encode, training) if encoded is not None}
    test = {each.conversation: each for each in measured_conversations(cells[0])}
    encodings = require_scorable(loaded.tokens, list(test.values()))
    if pairs.dropped:
        reasons = ", ".join(f"{reason} {num}" for reason, num in pairs.dropped.items())
        on_notice(f"training pairs that cannot be used, which are left out: {reasons}")
    backbone = FrozenBackbone(loaded, settings.features or path.parent / "features")
    sequences = [side for pair in used.values() for side in (pair.chosen, pair.rejected)]
    states = backbone.states([*sequences, *(encoding.sequence for encoding in encodings)], counting)
    sides = zip(states[0 : len(sequences) : 2], states[1 : len(sequences) : 2], strict=True)
    arrays = StateTable.arrays_of(
        dict(zip(used, sides, strict=True)),
        pairs.num_tokens,
        dict(zip(test, states[len(sequences) :], strict=True)),
        None if loaded.new_head else _own_head(loaded),
    )
    replace_file(path, save(arrays))


def _training_pairs(cells: Sequence[GridCell], work: CellWork, pairs: EncodedPairs) -> Collection[PreferencePair]:
    """Return the pairs that any fold of any cell trains on, each once."""
    training = {
        id(pair): pair
        for cell in cells
        for fold in range(cell.folds)
        for some in fold_pairs(cell, work, pairs.count_tokens, fold).values()
        for pair in some
    }
    return training.values()


def _require_pairs(settings: ModelSettings, cells: Sequence[GridCell]) -> None:
    """Refuse arms without pairs on a base that has no rewards of its own."""
    if untrained := [cell.arm for cell in cells if not any(cell.settings.pairs.values())]:
        raise InvalidInputError(
            f"arms.{untrained[0]}.pairs: expected pairs, got none: {settings.base} is a language model, which gives no "
            "rewards until a head is fitted"
        )


def _own_head(loaded: LoadedCheckpoint) -> NDArray[np.float32]:
    """Return weight and bias of the base's head, `[hidden_size + 1]`."""
    head: Any = loaded.classifier.score
    weight = head.weight[0].detach().cpu().float().numpy()
    return np.append(weight, np.float32(0.0 if head.bias is None else head.bias.item()))
