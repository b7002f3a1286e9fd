import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from music.conversation import Conversation
from music.judges.judgement import Judgement, Problem
from music.judges.pairwise import PairJudgement
from music.prompts import Choice

MARKS = {"A": Choice.FIRST, "B": Choice.SECOND, "C": Choice.TIE}


@pytest.fixture(scope="module")
def judges() -> Iterator[str]:
    """Serve judges of a fixed mind (`judge_server.py`); return the base URL."""
    pipe = subprocess.PIPE
    command = [sys.executable, Path(__file__).with_name("judge_server.py")]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.fixture(scope="session")
def stats() -> Callable[[str], dict[str, Any]]:
    """Return a reader of what a server has counted."""

    def read(url: str) -> dict[str, Any]:
        with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=30) as response:
            return json.load(response)

    return read


@pytest.fixture(scope="session")
def sides() -> Callable[[int], list[tuple[Conversation, Conversation]]]:
    """Return a maker of pairs of conversations, all different."""

    def make(num: int) -> list[tuple[Conversation, Conversation]]:
        prompts = [Conversation().user(f"Question {index}?") for index in range(num)]
        return [(prompt.assistant("right"), prompt.assistant("wrong")) for prompt in prompts]

    return make


@pytest.fixture(scope="session")
def said() -> Callable[..., PairJudgement]:
    """Return a maker of judgements from marks, one a sample, `-` for an unreadable one: `said("AC", "B-")`."""

    def judgement(mark: str) -> Judgement[Choice]:
        return Judgement(None, Problem.UNREADABLE) if mark == "-" else Judgement(MARKS[mark])

    def make(forward: str, backward: str) -> PairJudgement:
        return PairJudgement(tuple(map(judgement, forward)), tuple(map(judgement, backward)))

    return make
