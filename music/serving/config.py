"""The settings of a reward server. The command line reads its flags from here."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from music.config import Config, Flag

__all__ = ["ServingConfig"]


class ServingConfig(Config):
    """Settings of a reward server.

    Example:
        >>> ServingConfig(port=0, max_queued=100).max_queued
        100
    """

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8300, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    device: str | None = None
    """Where to compute. By default CUDA if it is available, else the CPU."""
    gpu_memory: Annotated[float | None, Flag(metavar="SHARE")] = Field(default=None, gt=0, le=1)
    """Largest share of the GPU's memory that the server takes, for a card that it shares with a trainer."""
    reload_from: Annotated[Path | None, Flag(panel="Reloading", metavar="DIR")] = None
    """Let `POST /v1/reload` load any checkpoint below this folder. By default it loads only MODEL again."""
    frozen: Annotated[bool, Flag(name="--frozen", panel="Reloading")] = False
    """Refuse to load another checkpoint, and print how much memory the model takes."""
    deterministic: Annotated[bool, Flag(name="--deterministic", panel="Scoring")] = False
    """Give each conversation bitwise the same score, whatever else is scored with it."""
    policy_template: Annotated[str | None, Flag(panel="Policies", metavar="FOLDER|FILE|NAME")] = None
    """Chat template of the text that OpenRLHF and slime send: a folder or hub id of the policy's tokenizer, a file, or
    a built-in name. By default the reward model's."""
    floor: Annotated[float | None, Flag(panel="Policies", show_default="refuse the request")] = Field(
        default=None, allow_inf_nan=False
    )
    """Reward of a conversation that cannot be scored, such as a blank reply, for clients that cannot leave it out."""
    cache_tokens: Annotated[int | None, Flag(panel="Scoring", show_default="what fits")] = Field(default=None, ge=0)
    """Tokens whose keys and values are kept for later requests; 0 keeps none."""
    batch_tokens: Annotated[int | None, Flag(panel="Scoring", show_default="4 rows")] = Field(default=None, ge=1)
    """Most tokens that are scored together. A request waits for at most the batch before its own."""
    max_wait: Annotated[float, Flag(panel="Scoring", metavar="MILLISECONDS")] = Field(default=2.0, ge=0)
    """How long a batch that is not full waits for more requests while others are being answered."""
    max_body: Annotated[int, Flag(panel="Limits", metavar="BYTES")] = Field(default=8 * 2**20, ge=1)
    """Largest body of a request. Larger ones get 413."""
    max_conversations: Annotated[int, Flag(panel="Limits")] = Field(default=1024, ge=1)
    """Most conversations of a request. More get 413."""
    max_tokens: Annotated[int, Flag(panel="Limits")] = Field(default=2**20, ge=1)
    """Most tokens of a request. More get 413."""
    max_queued: Annotated[int, Flag(panel="Limits")] = Field(default=8192, ge=1)
    """Most conversations that wait. Requests beyond get 429 with a Retry-After."""
    read_seconds: Annotated[float, Flag(panel="Limits", metavar="SECONDS")] = Field(default=60.0, gt=0)
    """Longest time in which a client sends a request. Slower ones get 408."""
    drain_seconds: Annotated[float, Flag(panel="Limits", metavar="SECONDS")] = Field(default=30.0, ge=0)
    """After SIGTERM or Ctrl-C, longest time in which requests that were accepted are answered."""
    api_key_file: Annotated[Path | None, Flag(panel="Access", metavar="FILE")] = None
    """File with the key that clients send as `Authorization: Bearer KEY`; or set MUSIC_SERVE_API_KEY. Required unless
    the server listens on loopback."""
    insecure: Annotated[bool, Flag(name="--insecure", panel="Access")] = False
    """Listen on other addresses than loopback without a key."""
