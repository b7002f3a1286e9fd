"""The settings of the sandbox's server. The command line reads its flags from here."""

import math
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from music.config import Config, Flag
from music.sandbox.server.faults import Fault, Latency, read_faults

__all__ = ["ServerConfig"]


class ServerConfig(Config):
    """Settings of the sandbox's server."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=0, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    latency: Annotated[str, Flag(metavar="LATENCY")] = "0"
    """Milliseconds: 200, uniform:LOW:HIGH, lognormal:MEDIAN:SIGMA or exponential:MEAN."""
    faults: Annotated[str, Flag(metavar="FAULTS")] = ""
    """Shares of requests that fail, such as error=0.05,hang=0.02. Faults: error, reset, hang, truncate, invalid_json,
    no_choices, wrong_types, huge, nul, surrogate, control_tokens."""
    rate_429: float = Field(default=0.0, ge=0, le=1)
    """Share of requests that get a 429."""
    retry_after: float = Field(default=1.0, ge=0)
    """Seconds in the Retry-After header of these 429s."""
    hang_seconds: float = Field(default=3600.0, ge=0)
    """Seconds until a hanging request is answered, unless the client disconnects or the server stops."""
    poison: str = ""
    """A request whose last message contains this text always gets a 500."""
    limit: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Limit in requests per second, with bursts of one second's worth. Requests beyond it get a 429 with a Retry-After.
    0 for no limit."""
    limit_headers: bool = True
    """Whether every response has OpenAI's x-ratelimit-* headers."""
    seed: int = 0
    """Seed of latency and faults, not of replies."""

    @field_validator("latency")
    @classmethod
    def _latency_is_readable(cls, latency: str) -> str:
        Latency.parse(latency)
        return latency

    @field_validator("faults")
    @classmethod
    def _faults_are_readable(cls, faults: str) -> str:
        read_faults(faults)
        return faults

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        total = math.fsum(self.shares().values())
        if total > 1:
            raise ValueError(f"expected faults and rate_429 that add up to at most 1, got {total:g}")
        return self

    def shares(self) -> dict[Fault, float]:
        """Return the share of requests for each fault."""
        return {Fault.RATE_429: self.rate_429, **read_faults(self.faults)}
