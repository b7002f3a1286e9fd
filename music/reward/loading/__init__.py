"""Checkpoints in and out: a vanilla sequence classifier, its tokenizer and its score contract.

- `checkpoint`: `load_checkpoint`, which puts these together; `save_model`, and `fingerprint`.
- `architecture`: which classifier a configuration names.
- `weights`, `heads`, `adapters`: tensors by name, reward heads in other trainers' layouts, and PEFT adapters.
- `classifier`: all of these as one classifier, exactly, or the reason why not.
- `tokenizer`, `reading`: the tokenizer and its contract, and at which token the reward is read.
"""

from music.reward.loading.checkpoint import (
    LoadedCheckpoint,
    count_text,
    fingerprint,
    load_checkpoint,
    save_model,
    saved_dtype,
)

__all__ = ["LoadedCheckpoint", "count_text", "fingerprint", "load_checkpoint", "save_model", "saved_dtype"]
