"""The settings of a `RemoteReward`. This module imports no HTTP library."""

from typing import Literal

from pydantic import Field

from music.llm.retry import RetryPolicy
from music.llm.settings import PostSettings

__all__ = ["RemoteRewardSettings", "RewardProtocol"]

RewardProtocol = Literal["music", "vllm", "sglang", "openai-embeddings", "openrlhf"]
"""The protocol of a reward server; see `RemoteReward`."""


class RemoteRewardSettings(PostSettings):
    """Settings of a reward model behind one or more servers.

    Example:
        >>> RemoteRewardSettings(max_in_flight=128).max_in_flight
        128
    """

    max_in_flight: int = Field(default=64, ge=1)
    """Most requests at the same time, to all servers together."""
    max_batch: int = Field(default=64, ge=1)
    """Most conversations of one request. vLLM takes one."""
    max_batch_chars: int = Field(default=500_000, ge=1)
    """Most characters of one request with several conversations. A history that candidates share counts once."""
    retry: RetryPolicy = RetryPolicy()
    """When to repeat a failed request."""
