"""`UsageEstimate`: what a request is likely to use, where the endpoint does not say or has not said yet."""

import asyncio

from music.llm.chat import (
    ChatReply,
    ChatRequest,
    EndpointError,
    EndpointTimeoutError,
    MalformedReplyError,
    TryUsage,
)
from music.llm.retry import FailedTryError

__all__ = ["UsageEstimate", "num_chars"]

_TOKENS_PER_CHAR = 0.25
"""Before the first reply; about right for English."""
_COMPLETION_TOKENS = 256
"""Of a reply that nothing bounds, before the first reply."""
_MEMORY = 16
"""Replies over which running means are taken."""


class UsageEstimate:
    """Learns from an endpoint's replies how many tokens a character takes, and how many a reply."""

    def __init__(self) -> None:
        self._tokens_per_char = _TOKENS_PER_CHAR
        self._completion_tokens: float | None = None

    def learn(self, num_chars: int, reply: ChatReply) -> None:
        """Take a reply with its counts, and the characters of its request; one without counts teaches nothing."""
        if reply.prompt_tokens and num_chars:
            self._tokens_per_char += (reply.prompt_tokens / num_chars - self._tokens_per_char) / _MEMORY
        if reply.completion_tokens:
            mean = self._completion_tokens
            mean = reply.completion_tokens if mean is None else mean + (reply.completion_tokens - mean) / _MEMORY
            self._completion_tokens = mean

    def guess(self, request: ChatRequest, *, at_most: bool = False) -> TryUsage:
        """Estimate what a request uses.

        Args:
            request: What is asked.
            at_most: Whether the reply may have grown as long as the request lets it, as before a time-out; otherwise
                it is as long as replies of this endpoint are.
        """
        bound, mean = request.sampling.max_tokens, self._completion_tokens
        first, second = (bound, mean) if at_most else (mean, bound)
        return TryUsage(
            prompt_tokens=round(num_chars(request) * self._tokens_per_char),
            completion_tokens=round(first or second or _COMPLETION_TOKENS),
            is_estimate=True,
        )

    def of_failed_try(self, request: ChatRequest, end: EndpointError | asyncio.CancelledError) -> TryUsage | None:
        """Return what a try without a reply used: by the endpoint's counts, else by an estimate; None for nothing.

        A try that was refused, or that never reached the endpoint, is not paid for. One whose reply broke off, cannot
        be read or was not waited for is.
        """
        if not isinstance(end, FailedTryError):
            is_paid, cause = isinstance(end, MalformedReplyError | asyncio.CancelledError), end
        elif end.usage is not None:
            return end.usage
        else:
            is_paid, cause = end.may_be_paid, end.error
        was_cut_short = isinstance(cause, EndpointTimeoutError | asyncio.CancelledError)
        return self.guess(request, at_most=was_cut_short) if is_paid else None


def num_chars(request: ChatRequest) -> int:
    """Return how long the messages of a request are."""
    return sum([len(message.content) for message in request.messages])  # a generator takes twice the time
