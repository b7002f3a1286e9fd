from datetime import UTC, datetime
from email.utils import formatdate

import pytest

from music.llm import retry_after
from music.llm.retry_after import asked_wait, seconds_until

NOW = 1_795_000_000.0


@pytest.fixture(autouse=True)
def _frozen(monkeypatch):
    monkeypatch.setattr(retry_after.time, "time", lambda: NOW)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1s", 1),
        ("6m0s", 360),
        ("20ms", 0.02),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400),
        ("7.66s", 7.66),
        ("3", 3),
        ("0.5", 0.5),
        ("-4", 0),
        ("0", 0),
    ],
)
def test_durations_as_servers_write_them(value, seconds):
    assert seconds_until(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [None, "", "nan", "soon", "31 Foo", "9" * 400 + "-13-01T00:00:00Z", "0000-00-00"])
def test_what_is_no_time_says_nothing(value):
    assert seconds_until(value) is None


def iso(seconds):
    return datetime.fromtimestamp(NOW + seconds, UTC).isoformat()


@pytest.mark.parametrize(
    "write",
    [
        lambda seconds: str(int(NOW + seconds)),
        lambda seconds: f"{NOW + seconds:.3f}",
        lambda seconds: str(int((NOW + seconds) * 1e3)),
        lambda seconds: str(int((NOW + seconds) * 1e6)),
        iso,
        lambda seconds: iso(seconds).replace("+00:00", "Z"),
        lambda seconds: iso(seconds).replace("+00:00", ""),
        lambda seconds: formatdate(NOW + seconds, usegmt=True),
    ],
)
def test_moments_as_servers_write_them(write):
    assert seconds_until(write(90)) == pytest.approx(90, abs=1)
    assert seconds_until(write(-90)) == 0


def test_a_moment_centuries_away_is_one():
    assert seconds_until("1e300") is not None
    assert seconds_until("inf") == float("inf")


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({}, b"", None),
        ({"retry-after": "7"}, b"", 7),
        ({"retry-after-ms": "250", "retry-after": "7"}, b"", 0.25),
        ({"retry-after": "soon", "x-ratelimit-reset": "12"}, b"", 12),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "5"}, b"", None),
        ({"x-ratelimit-reset-tokens": "9s", "x-ratelimit-remaining-tokens": "0"}, b"", 9),
        ({"anthropic-ratelimit-requests-reset": iso(40), "anthropic-ratelimit-requests-remaining": "0"}, b"", 40),
        ({"ratelimit-reset": "30", "ratelimit-remaining": "0"}, b"", 30),
        ({"x-ratelimit-reset": str(int((NOW + 50) * 1000)), "x-ratelimit-remaining": "0"}, b"", 50),
        ({}, b'[{"error": {"details": [{"@type": "x.RetryInfo", "retryDelay": "34s"}]}}]', 34),
        ({}, b'{"error": {"metadata": {"headers": {"X-RateLimit-Reset": "%d"}}}}' % ((NOW + 20) * 1000), 20),
    ],
)
def test_a_wait_is_found_wherever_servers_say_it(headers, body, seconds):
    found = asked_wait(headers, body)
    assert found is None if seconds is None else found == pytest.approx(seconds, abs=1)
