"""What tests of chat environments share: episodes, and server processes that can be killed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil
import pytest

from music.conversation import Conversation
from music.sandbox.server import ServerConfig, sandbox_server


def play_episode(env, reply="Reply number {}.", **reset):
    """Run one episode with fixed replies; return all that came back."""
    steps = [env.reset(**reset)]
    while len(steps) == 1 or not (steps[-1][2] or steps[-1][3]):
        steps.append(env.step(reply.format(len(steps))))
    return steps


@pytest.fixture(scope="session")
def play():
    return play_episode


@pytest.fixture
def seeds() -> tuple[Conversation, ...]:
    """One that ends with each side, and one that the user opens."""
    return (
        Conversation().user("Which tea?").assistant("Green."),
        Conversation().user("Name a river."),
        Conversation(),
    )


@pytest.fixture
def killable_server() -> Iterator[Callable[..., tuple[str, Callable[[], None]]]]:
    """Start sandbox servers; return the base URL of each and what kills its process."""
    with ExitStack() as stack:

        def start(**config) -> tuple[str, Callable[[], None]]:
            others = set(psutil.Process().children())
            url = stack.enter_context(sandbox_server(ServerConfig(**config)))
            (process,) = set(psutil.Process().children()) - others

            def kill() -> None:
                process.kill()
                psutil.wait_procs([process])

            return url, kill

        yield start
