"""Loading and saving checkpoints: a vanilla sequence classifier, its tokenizer and its score contract.

- `checkpoint`: `load_checkpoint`, which loads all three; `save_model` and `fingerprint`.
- `architecture`: which classifier a configuration names.
- `weights`, `heads`, `adapters`: tensors by name, reward heads in other trainers' layouts, and PEFT adapters.
- `classifier`: `load_classifier`, which makes an exact classifier of these or explains why it cannot.
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
