"""`StateCache`: hidden states on disk, by the tokens up to the one at which they are read.

A folder holds any number of shards, each written whole or not at all. A killed run loses at most the shard that it was
computing. Several processes may share a folder: if two compute the same states, they write the same shard.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from music.errors import InvalidInputError
from music.files import replace_file
from music.reward.packing import TokenSequence

__all__ = ["StateCache", "keys_of_reads"]

KEYS, STATES = "keys", "states"
_KEY_BYTES = 32


def keys_of_reads(sequence: TokenSequence) -> list[bytes]:
    """Return a key for each read of a sequence: a hash of the tokens up to it, all that its state depends on."""
    ids = np.asarray(sequence.ids, np.int64)
    digest, done, keys = sha256(), 0, []
    for read in sequence.reads:
        digest.update(ids[done : read + 1].tobytes())
        done = read + 1
        keys.append(digest.digest())
    return keys


class StateCache:
    """The hidden states in a folder.

    Args:
        folder: The folder. It need not exist. Its states must all be of one model.

    Raises:
        InvalidInputError: A shard is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[bytes, tuple[Tensor, int]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            try:
                shard = load_file(path)  # it is mapped: states are read from the disk when they are used
                self._index(shard[KEYS], shard[STATES])
            except (OSError, SafetensorError, KeyError, ValueError) as error:
                raise InvalidInputError(
                    f"{path}: expected a whole shard of hidden states, but it is damaged ({error}): delete it, and its "
                    "states are computed again"
                ) from error

    def __contains__(self, key: bytes) -> bool:
        """Return whether the state with a key is known."""
        return key in self._found

    def __len__(self) -> int:
        """Return the number of states."""
        return len(self._found)

    def read(self, keys: Iterable[bytes]) -> Tensor:
        """Return the states with these keys, `[keys, hidden_size]`.

        Raises:
            KeyError: One is not known.
        """
        return torch.stack([states[row] for states, row in map(self._found.__getitem__, keys)])

    def add(self, states: Mapping[bytes, Tensor]) -> None:
        """Write states as a new shard, named after their keys.

        Raises:
            MusicError: It cannot be written, for example because the disk is full.
        """
        keys = b"".join(states)
        shard = {
            KEYS: torch.frombuffer(bytearray(keys), dtype=torch.uint8).view(-1, _KEY_BYTES),
            STATES: torch.stack(list(states.values())).contiguous(),
        }
        replace_file(self._folder / f"{sha256(keys).hexdigest()[:16]}.safetensors", save(shard))
        self._index(shard[KEYS], shard[STATES])

    def _index(self, keys: Tensor, states: Tensor) -> None:
        packed = keys.numpy().tobytes()
        if len(packed) != _KEY_BYTES * len(states):
            raise ValueError(f"{len(packed) // _KEY_BYTES} keys for {len(states)} states")
        for row in range(len(states)):
            self._found[packed[_KEY_BYTES * row : _KEY_BYTES * (row + 1)]] = (states, row)
