import pytest

from music.conversation import Message
from music.llm import (
    ChatReply,
    ChatRequest,
    EndpointUnavailableError,
    MalformedReplyError,
    RateLimitedError,
    ReplyOutcome,
    RequestRejectedError,
    RetryPolicy,
)
from music.llm.retry import FailedTryError, call_with_retries

REPLY = ChatReply(text="Hello.", outcome=ReplyOutcome.COMPLETE, model="m")
REQUEST = ChatRequest(messages=(Message(role="user", content="Hi!"),))


class Calls:
    """A call that raises the given errors in turn, then answers; it counts its tries and the sleeps between."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.num_tries = 0
        self.sleeps = []

    async def __call__(self, request, again):
        assert request is REQUEST
        assert again == (self.num_tries > 0)
        self.num_tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return REPLY

    async def sleep(self, seconds):
        self.sleeps.append(seconds)


def failed(retry_after=None):
    return FailedTryError(EndpointUnavailableError("down"), retry_after)


async def test_a_success_at_once_is_one_try_without_a_sleep():
    calls = Calls()
    assert await call_with_retries(calls, REQUEST, RetryPolicy(), calls.sleep) is REPLY
    assert (calls.num_tries, calls.sleeps) == (1, [])


async def test_failures_are_repeated_with_growing_jittered_waits():
    calls = Calls(failed(), failed(), failed())
    assert await call_with_retries(calls, REQUEST, RetryPolicy(backoff=1.0), calls.sleep) is REPLY
    assert calls.num_tries == 4
    for seconds, low in zip(calls.sleeps, (1, 2, 4), strict=True):
        assert low <= seconds <= low + 1


async def test_the_waits_are_bounded():
    calls = Calls(*(failed() for _ in range(9)))
    await call_with_retries(calls, REQUEST, RetryPolicy(max_tries=10, backoff=1.0, max_backoff=5.0), calls.sleep)
    assert 5 <= max(calls.sleeps) <= 6


@pytest.mark.parametrize("max_tries", [1, 2, 5])
async def test_the_tries_are_bounded_and_the_last_error_is_raised_as_its_own_type(max_tries):
    calls = Calls(*(failed() for _ in range(10)))
    with pytest.raises(EndpointUnavailableError, match=r"^down \(tried "):
        await call_with_retries(calls, REQUEST, RetryPolicy(max_tries=max_tries), calls.sleep)
    assert (calls.num_tries, len(calls.sleeps)) == (max_tries, max_tries - 1)


async def test_another_failure_than_the_first_decides_the_error():
    calls = Calls(failed(), FailedTryError(RateLimitedError("slow down")))
    with pytest.raises(RateLimitedError):
        await call_with_retries(calls, REQUEST, RetryPolicy(max_tries=2, max_rate_limited=1), calls.sleep)


def limited():
    return FailedTryError(RateLimitedError("slow down"), 7.0, at_once=True)


async def test_429s_and_other_failures_have_bounds_of_their_own():
    calls = Calls(*(error for _ in range(2) for error in (limited(), failed(), limited())))
    policy = RetryPolicy(max_tries=3, max_rate_limited=5)
    assert await call_with_retries(calls, REQUEST, policy, calls.sleep) is REPLY
    calls = Calls(failed(), *(limited() for _ in range(9)))
    with pytest.raises(RateLimitedError, match="tried 5 times"):
        await call_with_retries(calls, REQUEST, RetryPolicy(max_tries=2, max_rate_limited=4), calls.sleep)


async def test_what_a_pacer_holds_back_does_not_wait_here():
    calls = Calls(limited(), limited())
    await call_with_retries(calls, REQUEST, RetryPolicy(), calls.sleep)
    assert calls.sleeps == [0, 0]


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self, calls):
        self._calls = calls

    def __call__(self):
        return sum(self._calls.sleeps)


async def test_with_patience_an_outage_uses_up_no_tries_until_it_is_over():
    calls = Calls(*(failed() for _ in range(12)))
    policy = RetryPolicy(max_tries=2, backoff=1.0, max_backoff=8.0, patience=100.0)
    assert await call_with_retries(calls, REQUEST, policy, calls.sleep, Clock(calls)) is REPLY
    assert calls.num_tries == 13


async def test_after_patience_the_tries_are_bounded_as_without():
    calls = Calls(*(failed() for _ in range(1000)))
    policy = RetryPolicy(max_tries=3, backoff=1.0, max_backoff=8.0, patience=100.0)
    with pytest.raises(EndpointUnavailableError, match=r"down \(tried \d+ times\)"):
        await call_with_retries(calls, REQUEST, policy, calls.sleep, Clock(calls))
    assert 100 <= sum(calls.sleeps) <= 100 + 4 * 9


async def test_patience_is_for_outages_alone():
    calls = Calls(*(FailedTryError(MalformedReplyError("odd")) for _ in range(9)))
    with pytest.raises(MalformedReplyError, match="tried 2 times"):
        await call_with_retries(calls, REQUEST, RetryPolicy(max_tries=2, patience=1e6), calls.sleep, Clock(calls))


async def test_a_rejection_ends_the_tries_also_after_a_failure():
    calls = Calls(failed(), RequestRejectedError("bad request"), failed())
    with pytest.raises(RequestRejectedError):
        await call_with_retries(calls, REQUEST, RetryPolicy(), calls.sleep)
    assert calls.num_tries == 2


async def test_retry_after_is_honoured_and_bounded():
    calls = Calls(failed(7.0), failed(3600.0), failed(float("inf")), failed(0.0))
    await call_with_retries(calls, REQUEST, RetryPolicy(backoff=0.5).within(60.0), calls.sleep)
    assert 7 <= calls.sleeps[0] <= 7.5
    assert calls.sleeps[1:3] == [60.0, 60.0]
    assert calls.sleeps[3] <= 0.5
