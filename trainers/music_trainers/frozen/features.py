"""`FrozenBackbone`: conversations to hidden states at the ends of turns, each computed once and kept on disk.

One pass over a conversation gives the states of all of its turns. A state depends on the tokens before it alone, so
those of a beginning that conversations share are computed once too.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.loading import LoadedCheckpoint, fingerprint
from music.reward.packing import TokenSequence, plan_rows
from music.reward.scoring.device import resolve_device
from music.reward.scoring.forward import row_tokens
from music.reward.scoring.self_test import make_scorer
from music.reward.scoring.sequence_scorer import MIN_SAVED, group_alike
from music.reward.tokens.contract import ScoreContract
from music_trainers.frozen.cache import StateCache, keys_of_reads

__all__ = ["Counting", "FrozenBackbone", "States", "states_key"]

States: TypeAlias = NDArray[np.float32]
"""Hidden states of one conversation, `[reads, hidden_size]`."""
Counting: TypeAlias = Callable[[int], AbstractContextManager[Callable[[int], object]]]
"""Given a total, opens a display of progress: a function that advances it by a number."""
_ROWS_PER_SHARD = 8
_KEY_LENGTH = 16


def states_key(classifier: PreTrainedModel, contract: ScoreContract, device: torch.device) -> str:
    """Return a hash of what hidden states depend on besides the tokens: weights, configuration, contract and device.

    The head does not count. Nor do the readout, the longest length and the reference statistics: they decide which
    tokens are read, and states are known by these.
    """
    backbone = getattr(classifier, classifier.base_model_prefix)
    fields = {"readout": "last", "max_length": 1, "reference": None}
    return sha256(f"{fingerprint(backbone, contract.model_copy(update=fields))} {device.type}".encode()).hexdigest()


class FrozenBackbone:
    """A model whose weights stay the same, and the hidden states that it has computed so far.

    Attributes:
        folder: Holds the states of this model under this contract. States of another model or contract are in other
            folders, and are never used.
        num_computed: Hidden states that were computed.
        num_cached: Hidden states that were on disk before they were asked for.
    """

    def __init__(
        self,
        loaded: LoadedCheckpoint,
        folder: str | Path,
        *,
        device: str | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """Prepare a model, and open its states.

        Args:
            loaded: The model, which is moved to the device, and its path from messages to tokens.
            folder: Folder of the states of any number of models.
            device: Where to compute. By default CUDA if it is available, else the CPU.
            max_tokens: Approximate number of tokens in a forward pass; by default what suits the device.

        Raises:
            InvalidInputError: A shard in the folder is damaged, or the folder is a file.
            PackedAttentionError: The model cannot be packed.
        """
        if Path(folder).is_file():
            raise InvalidInputError(f"{folder}: expected a folder for hidden states (--features), got a file")
        place = resolve_device(device)
        self.folder = Path(folder) / states_key(loaded.classifier, loaded.tokens.contract, place)[:_KEY_LENGTH]
        self.num_computed = self.num_cached = 0
        self._tokens = loaded.tokens
        self._cache = StateCache(self.folder)
        module: nn.Module = loaded.classifier  # PreTrainedModel overrides `to` with a vaguer type
        module.to(place)
        self._scorer = make_scorer(loaded.classifier)
        self._max_tokens = max_tokens or row_tokens(place)

    @property
    def has_states_of_others_alone(self) -> bool:
        """Whether the folder holds states, but none of this model under this contract."""
        return not len(self._cache) and any(self.folder.parent.glob(f"{'[0-9a-f]' * _KEY_LENGTH}/*.safetensors"))

    def turns(self, conversations: Sequence[Conversation]) -> list[States]:
        """Return the hidden states after every assistant turn of each conversation, `[turns, hidden_size]`.

        Turns that are dropped because of the contract's `max_length` have none.

        Raises:
            UnscorableError: A conversation has no score.
            ContractError: The chat template renders a history differently once more turns follow.
        """
        encodings = self._tokens.encode_all(conversations, every_turn=True)
        return self.states([encoding.sequence for encoding in encodings])

    def states(self, sequences: Sequence[TokenSequence], counting: Counting | None = None) -> list[States]:
        """Return the hidden states at the reads of each sequence. What is not on disk is computed and written there.

        Args:
            sequences: The sequences.
            counting: Displays the progress over the sequences that are computed.

        Raises:
            InvalidInputError: The model's hidden states are not finite numbers.
            MusicError: States cannot be written.
        """
        keys = [keys_of_reads(sequence) for sequence in sequences]
        distinct = {key for of_sequence in keys for key in of_sequence}
        self.num_cached += sum(key in self._cache for key in distinct)
        missing = self._missing(sequences, keys)
        with (counting if counting and missing else _uncounted)(len(missing)) as advance:
            for batch in _batches(missing, _ROWS_PER_SHARD * self._max_tokens):
                self._compute(batch)
                advance(len(batch))
        return [self._cache.read(of_sequence).numpy() for of_sequence in keys]

    def _missing(self, sequences: Sequence[TokenSequence], keys: Sequence[Sequence[bytes]]) -> list[TokenSequence]:
        """Return the sequences to compute, each once, with those that begin alike side by side."""
        reads: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for sequence, of_sequence in zip(sequences, keys, strict=True):
            if not all(key in self._cache for key in of_sequence):
                reads[tuple(sequence.ids)].update(sequence.reads)
        return [TokenSequence(ids, tuple(sorted(reads[ids]))) for ids in sorted(reads)]

    @torch.no_grad()
    def _compute(self, sequences: Sequence[TokenSequence]) -> None:
        """Compute the states of a batch, and write them as one shard."""
        keys = [keys_of_reads(sequence) for sequence in sequences]
        runs = group_alike([tuple(sequence.ids) for sequence in sequences], self._max_tokens)
        groups = [group for run in runs for group in run]
        plan = plan_rows([[sequences[i] for i in group] for group in groups], self._max_tokens, min_saved=MIN_SAVED)
        found: dict[bytes, Tensor] = {}
        for row in plan.rows:
            states = row.split(self._scorer.states(row).float().cpu())
            for index, of_group in zip(row.groups, states, strict=True):
                for member, read in zip(groups[index], of_group, strict=True):
                    found |= {key: state for key, state in zip(keys[member], read, strict=True) if key not in found}
        new = {key: state for key, state in found.items() if key not in self._cache}
        if not all(state.isfinite().all() for state in new.values()):
            raise InvalidInputError(
                "expected a base whose hidden states are finite numbers, got NaN or infinity: its weights are damaged, "
                "or their type is too narrow"
            )
        self._cache.add(new)
        self.num_computed += len(new)


def _batches(sequences: Sequence[TokenSequence], max_tokens: int) -> Iterator[list[TokenSequence]]:
    """Split sequences into batches of about this many tokens."""
    batch: list[TokenSequence] = []
    num_tokens = 0
    for sequence in sequences:
        batch.append(sequence)
        num_tokens += len(sequence.ids)
        if num_tokens >= max_tokens:
            yield batch
            batch, num_tokens = [], 0
    if batch:
        yield batch


def _uncounted(_: int) -> AbstractContextManager[Callable[[int], object]]:
    return nullcontext(lambda _: None)
