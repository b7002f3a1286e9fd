from dataclasses import dataclass, field

import pytest

from music.llm.chat import ChatReply, ChatRequest, EndpointUnavailableError, ReplyOutcome


@dataclass
class ScriptedModel:
    """Replies with its name, the seed and the number of messages it saw; fails on the chosen calls."""

    name: str = "scripted"
    fails: frozenset[int] = frozenset()
    requests: list[ChatRequest] = field(default_factory=list)
    num_closed: int = 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.requests.append(request)
        if len(self.requests) - 1 in self.fails:
            raise EndpointUnavailableError(f"{self.name} is down")
        text = f"{self.name}-{request.seed}-{len(request.messages)}"
        return ChatReply(text=text, outcome=ReplyOutcome.COMPLETE, model=self.name)

    async def aclose(self) -> None:
        self.num_closed += 1


@pytest.fixture
def scripted():
    return ScriptedModel


def digit_sum(conversations):
    """Prefer replies whose digits add up to more: depends on text alone, and ties are rare."""
    return [
        float(sum(int(c) for m in conv.messages if m.role == "assistant" for c in m.content if c.isdigit()))
        for conv in conversations
    ]


@pytest.fixture
def toy_reward():
    return digit_sum
