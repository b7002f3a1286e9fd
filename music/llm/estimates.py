"""`UsageEstimate`: how many tokens a request is likely to use, where the endpoint has reported no counts."""

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
"""Assumed before the first reply; about right for English."""
_COMPLETION_TOKENS = 256
"""Assumed length of a reply without a limit, before the first reply."""
_MEMORY = 16
"""Number of replies that running means cover."""


class UsageEstimate:
    """Learns the tokens per character and per reply from an endpoint's replies."""

    def __init__(self) -> None:
        self._tokens_per_char = _TOKENS_PER_CHAR
        self._completion_tokens: float | None = None

    def learn(self, num_chars: int, reply: ChatReply) -> None:
        """Update the means from a reply's counts and the number of characters of its request."""
        if reply.prompt_tokens and num_chars:
            self._tokens_per_char += (reply.prompt_tokens / num_chars - self._tokens_per_char) / _MEMORY
        if reply.completion_tokens:
            mean = self._completion_tokens
            mean = reply.completion_tokens if mean is None else mean + (reply.completion_tokens - mean) / _MEMORY
            self._completion_tokens = mean

    def guess(self, request: ChatRequest, *, at_most: bool = False) -> TryUsage:
        """Estimate the tokens that a request uses.

        Args:
            request: The request.
            at_most: Assume a reply as long as the request allows, as before a time-out, and not one of mean length.
        """
        bound, mean = request.sampling.max_tokens, self._completion_tokens
        first, second = (bound, mean) if at_most else (mean, bound)
        return TryUsage(
            prompt_tokens=round(num_chars(request) * self._tokens_per_char),
            completion_tokens=round(first or second or _COMPLETION_TOKENS),
            is_estimate=True,
        )

    def of_failed_try(self, request: ChatRequest, end: EndpointError | asyncio.CancelledError) -> TryUsage | None:
        """Return the usage of a try without a reply, from the endpoint's counts or estimated; None if it is free.

        A try that was refused, or that never reached the endpoint, is free. A try is paid for if its reply broke off,
        cannot be read, or came too late.
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
    """Return the number of characters of a request's messages."""
    return sum([len(message.content) for message in request.messages])  # a generator takes twice the time
