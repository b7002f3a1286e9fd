"""Settings of the HTTP clients. This module imports no HTTP library, so config models and `--help` can use it."""

from pydantic import BaseModel, ConfigDict, Field

from music.llm.connection import Connection
from music.llm.pacing import PacingSettings
from music.llm.retry import RetryPolicy

__all__ = ["ClientSettings", "PostSettings"]


class PostSettings(BaseModel):
    """Limits on one request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout: float = Field(default=300.0, gt=0)
    """Seconds that one try may take in all."""
    connect_timeout: float = Field(default=15.0, gt=0)
    """Seconds that connecting may take."""
    read_timeout: float | None = Field(default=None, gt=0)
    """Seconds without data after which a try fails; None for `timeout` alone. Replies are not streamed: the server
    sends nothing while it works."""
    max_body_bytes: int = Field(default=2 * 2**20, gt=0)
    """Largest body of a reply, in bytes."""
    connection: Connection = Connection()
    """What requests carry besides their body."""


class ClientSettings(PostSettings):
    """Settings of the client of a chat endpoint."""

    retry: RetryPolicy = RetryPolicy()
    """When a failed try is repeated."""
    pacing: PacingSettings = PacingSettings()
    """How fast requests are sent."""

    @property
    def bounded_retry(self) -> RetryPolicy:
        """The retry policy, with no wait longer than a try may take."""
        return self.retry.within(self.timeout)
