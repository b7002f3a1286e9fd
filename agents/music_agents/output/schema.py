"""The columns of the output table of a simulation.

They load with `datasets.load_dataset("parquet", ...)`, which knows no map type, and feed TRL's trainers as they are.
"""

import pyarrow as pa

__all__ = ["PAIR_SCHEMA"]

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_CONTRAST = pa.struct(
    [
        ("turn", pa.int64()),
        ("strategy", pa.string()),
        ("modified_instruction", pa.string()),
        ("parameters", pa.string()),
    ]
)
# A role that a run does without is null.
_MODELS = pa.struct([(role, pa.string()) for role in ("user", "assistant", "contrast", "weaker", "judge")])
_USAGE = pa.struct([("num_calls", pa.int64()), ("prompt_tokens", pa.int64()), ("completion_tokens", pa.int64())])

PAIR_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("chosen", _MESSAGES),
        ("rejected", _MESSAGES),
        ("source", pa.string()),
        ("seed_id", pa.string()),
        ("num_seed_messages", pa.int64()),
        ("contrasts", pa.list_(_CONTRAST)),
        ("models", _MODELS),
        ("usage", _USAGE),
        ("seed", pa.int64()),
        ("persona", pa.string()),
        ("retries", pa.list_(pa.string())),
        ("judgement", pa.string()),
    ]
)
"""Columns of the output; a contrast's `parameters` and the `persona` are JSON objects."""
