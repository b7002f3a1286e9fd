"""The settings of a reward server. The command line reads its flags from here."""

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
    deterministic: Annotated[bool, Flag(name="--deterministic", panel="Scoring")] = False
    """Give each conversation bitwise the same score, whatever else is scored with it."""
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
    max_queued: Annotated[int, Flag(panel="Limits")] = Field(default=8192, ge=1)
    """Most conversations that wait. Requests beyond get 429 with a Retry-After."""
