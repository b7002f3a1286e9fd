"""The settings of the sandbox's server. Light: the command line imports them for its flags."""

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
    """Shares of requests that go wrong, as error=0.05,hang=0.02; of error, reset, hang, truncate, invalid_json,
    no_choices, wrong_types, huge, nul, surrogate, control_tokens."""
    rate_429: float = Field(default=0.0, ge=0, le=1)
    """Share of requests answered with a 429."""
    retry_after: float = Field(default=1.0, ge=0)
    """Seconds that such a 429 asks the client to wait."""
    hang_seconds: float = Field(default=3600.0, ge=0)
    """Seconds until a hanging request is answered, unless the client goes away or the server stops."""
    poison: str = ""
    """A request whose last message contains this text always gets a 500."""
    limit: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Requests per second, in bursts of one second's worth; a 429 beyond them says when to come again. 0 for any
    number."""
    limit_headers: bool = True
    """Whether every answer reports the limit in OpenAI's x-ratelimit-* headers."""
    seed: int = 0
    """Seed of latency and faults; replies do not depend on it."""

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
        """Return the share of requests that each fault happens to."""
        return {Fault.RATE_429: self.rate_429, **read_faults(self.faults)}
