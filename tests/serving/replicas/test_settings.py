"""What is refused before a cluster is joined, and which replica takes a route."""

import asyncio
import sys
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from music.errors import InvalidInputError
from music.serving.config import ServingConfig
from music.serving.replicas.config import ReplicaConfig
from music.serving.replicas.replica import _reason
from music.serving.replicas.router import StickyRouter
from music.serving.replicas.run import serve_replicas


@pytest.mark.parametrize(
    ("replicas", "num_gpus", "bounds"),
    [(None, 0, (1, 1)), (None, 4, (4, 4)), ("3", 8, (3, 3)), ("2-6", 0, (2, 6)), ("10-12", 0, (10, 12))],
)
def test_a_number_or_a_range_of_replicas(replicas, num_gpus, bounds):
    assert ReplicaConfig(ray=True, replicas=replicas).bounds(num_gpus) == bounds


@pytest.mark.parametrize("replicas", ["0", "", "-2", "2-", "a", "1.5", "0-2"])
def test_other_numbers_are_refused(replicas):
    with pytest.raises(ValidationError, match="replicas"):
        ReplicaConfig(ray=True, replicas=replicas)


def test_a_range_that_is_upside_down_and_replicas_without_ray_are_refused():
    with pytest.raises(ValidationError, match="MIN <= MAX, got 10-2"):
        ReplicaConfig(ray=True, replicas="10-2")
    with pytest.raises(ValidationError, match="expected --ray"):
        ReplicaConfig(replicas="2")


def test_an_address_that_others_reach_needs_a_key(monkeypatch):
    monkeypatch.delenv("MUSIC_SERVE_API_KEY", raising=False)
    with pytest.raises(InvalidInputError, match="expected an API key"):
        serve_replicas("rm", ServingConfig(host="0.0.0.0"), ReplicaConfig(ray=True))


def test_a_missing_ray_serve_is_said_with_the_command_that_installs_it(monkeypatch):
    for name in [each for each in sys.modules if each.startswith("music.serving.replicas.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InvalidInputError, match=r"pip install 'music-rm\[ray\]'"):
        serve_replicas("rm", ServingConfig(), ReplicaConfig(ray=True))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Traceback:\n  File x\nmusic.errors.InvalidInputError: rm: expected a whole file: it is cut off\n", "rm: exp"),
        ("Traceback:\n  File x\ntorch.OutOfMemoryError: CUDA out of memory\n", "torch.OutOfMemoryError: CUDA out"),
        ("no more", "no more"),
    ],
)
def test_why_replicas_do_not_start(message, reason):
    assert _reason(message).startswith(reason)


def choose(route, names):
    """Return the replicas in the order in which they are asked."""
    request = SimpleNamespace(kwargs={"route": route}, routing_context=SimpleNamespace(should_backoff=False))
    replicas = [SimpleNamespace(replica_id=SimpleNamespace(unique_id=name)) for name in names]
    ranks = asyncio.run(StickyRouter.choose_replicas(None, replicas, request))
    assert request.routing_context.should_backoff
    return [replica.replica_id.unique_id for (replica,) in ranks]


def test_only_the_routes_of_a_replica_that_goes_move_and_each_to_its_second_choice():
    names = ["a", "b", "c", "d"]
    before = {f"route {number}": choose(f"route {number}", names) for number in range(200)}
    after = {route: choose(route, names[:-1][::-1]) for route in before}
    assert all(sorted(ranks) == names for ranks in before.values())
    assert all(after[route] == [name for name in ranks if name != "d"] for route, ranks in before.items())
    for name in names:
        assert 25 < sum(ranks[0] == name for ranks in before.values()) < 75
