"""Reading the pairs that a run saved, in batches, without validating them again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from music.conversation import Conversation, Message
from music.pairs import ContrastivePair, TurnContrast, Usage
from music_agents.output.shard_folder import PAIR_SCHEMA, shard_paths

__all__ = ["read_saved_pairs"]

BATCH_ROWS = 256


def read_saved_pairs(directory: Path) -> Iterator[ContrastivePair]:
    """Yield the pairs of a run in order.

    Args:
        directory: Folder of the run, with its shards.

    Raises:
        ShardError: A shard is missing.
        OSError: A shard cannot be read.
    """
    for path in shard_paths(directory):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=PAIR_SCHEMA.names):
                yield from map(_pair, batch.to_pylist())


def _pair(row: dict[str, Any]) -> ContrastivePair:
    """Return the pair of a row."""
    own = {
        "chosen": _conversation(row["chosen"]),
        "rejected": _conversation(row["rejected"]),
        "contrasts": tuple(
            TurnContrast.model_construct(**(contrast | {"parameters": json.loads(contrast["parameters"])}))
            for contrast in row["contrasts"]
        ),
        "models": {role: model for role, model in row["models"].items() if model is not None},
        "usage": Usage(**row["usage"]),
        "retries": tuple(row["retries"]),
    }
    return ContrastivePair.model_construct(**(row | own))


def _conversation(messages: list[dict[str, Any]]) -> Conversation:
    """Return a conversation of the messages."""
    return Conversation.model_construct(messages=tuple(Message.trusted(m["role"], m["content"]) for m in messages))
