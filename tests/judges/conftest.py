from collections.abc import Callable

import pytest

from music.conversation import Conversation
from music.judges.model import Judgement, Problem
from music.judges.pairwise import PairJudgement
from music.prompts import Choice

MARKS = {"A": Choice.FIRST, "B": Choice.SECOND, "C": Choice.TIE}


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
