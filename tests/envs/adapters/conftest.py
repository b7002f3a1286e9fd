import os
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from music.conversation import Conversation
from music.sandbox.world.seeds import seed_pairs

GPU_ONLY = Path(sys.prefix) / "gpu-only"


@pytest.fixture
def gpu_only(monkeypatch):
    """OpenRLHF and verl without what they need a GPU for, put there by the Makefile."""
    assert GPU_ONLY.is_dir(), f"{GPU_ONLY} is missing: `make test` installs OpenRLHF and verl there"
    monkeypatch.setattr(sys, "path", [*sys.path, str(GPU_ONLY)])


def environ_beside(library):
    """Return the environment of a process that imports a library from the folder that the Makefile gave it."""
    folder = Path(sys.prefix) / library
    assert folder.is_dir(), f"{folder} is missing: `make test` installs {library} there"
    stand_ins = Path(__file__).parent / "beside" / library
    others = [path for path in sys.path if path and path != str(GPU_ONLY)]
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(stand_ins), *others])}


@pytest.fixture(scope="session")
def run_beside():
    """Return a function that runs a Python file with a library whose requirements contradict the others'."""

    def run(library: str, file: Path, *arguments: Path, cwd: Path | None = None) -> str:
        done = subprocess.run(
            [sys.executable, file, *arguments], env=environ_beside(library), cwd=cwd, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def serving():
    """Return a context in which a process serves the `app` of a Python file on loopback; its value is the address."""

    @contextmanager
    def serve(file: Path):
        with socket.create_server(("127.0.0.1", 0)) as listening:  # clients wait in its queue until the app is there
            descriptor = listening.fileno()
            place = ["--app-dir", str(file.parent), "--fd", str(descriptor), "--log-level", "warning"]
            command = [sys.executable, "-m", "uvicorn", *place, f"{file.stem}:app"]
            process = subprocess.Popen(command, pass_fds=[descriptor])
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        urllib.request.urlopen(f"{url}/health").close()  # the queue is the process's alone now: refused if it is dead
        yield url
        process.terminate()
        process.wait()

    return serve


@pytest.fixture
def prompts():
    """Three prompts of the sandbox, as messages that end with the user."""
    pairs = [pair.chosen.prefix(len(pair.chosen.messages) - 1) for pair in seed_pairs(40, 3)]
    return [p.to_messages() for p in pairs if len(p.messages) == 1][:3]


@pytest.fixture
def reward_length():
    """A reward that tells conversations apart and that a test can work out itself: characters of the replies."""

    def reward(conversations):
        assert all(isinstance(c, Conversation) and c.messages[-1].role == "assistant" for c in conversations)
        return [float(sum(len(m.content) for m in c.messages if m.role == "assistant")) for c in conversations]

    return reward
