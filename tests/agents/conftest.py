import asyncio
from collections.abc import Callable

import pytest

from music.conversation import Conversation
from music.llm.chat import ChatReply, ChatRequest, ReplyOutcome
from music.pairs import PreferencePair
from music.prompts import PromptKind, read_prompt, render_contrast_reply
from music_agents import AssistantRole, InstructionContrast, PairGraph, RoleSet, UserRole, build_pair_graph

Answer = Callable[[PromptKind, Conversation, ChatRequest], str | ChatReply]


def make_reply(text: str, outcome: ReplyOutcome = ReplyOutcome.COMPLETE) -> ChatReply:
    return ChatReply(text=text, outcome=outcome, model="fake", prompt_tokens=10, completion_tokens=1)


def plain_answer(part: PromptKind, conversation: Conversation, request: ChatRequest) -> str:
    place = request.key.replace("/", ":")
    if part in (PromptKind.USER, PromptKind.ASSISTANT):
        return f"{part} {place}"
    return render_contrast_reply(f"modified {place}", f"contrast {place}")


class FakeModel:
    """Plays every role, records what it was shown, and holds replies back while its gate is shut."""

    def __init__(self, answer: Answer = plain_answer) -> None:
        self.name = "fake"
        self.requests: list[ChatRequest] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.in_flight: set[str] = set()
        self.most_in_flight = 0
        self._arrived = asyncio.Condition()
        self._answer = answer

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.requests.append(request)
        self.in_flight.add(request.key)
        self.most_in_flight = max(self.most_in_flight, len(self.in_flight))
        pairs = [key.partition("/")[0] for key in self.in_flight]
        assert len(pairs) == len(set(pairs)), "two calls of one pair are in flight"
        try:
            async with self._arrived:
                self._arrived.notify_all()
            await asyncio.sleep(0)
            await self.gate.wait()
        finally:
            self.in_flight.remove(request.key)
        prompt = read_prompt(request.messages)
        answer = self._answer(prompt.kind, prompt.conversation, request)
        return make_reply(answer) if isinstance(answer, str) else answer

    async def wait_for_in_flight(self, num: int) -> None:
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.in_flight) >= num)

    async def aclose(self) -> None:
        pass

    def seen(self, key: str) -> Conversation:
        """The conversation that the request with this key showed."""
        (request,) = (request for request in self.requests if request.key == key)
        return read_prompt(request.messages).conversation


def make_roles(model: FakeModel) -> RoleSet:
    user = UserRole(model, gates=())  # the fake user says what it pleases
    return RoleSet(user=user, assistant=AssistantRole(model), contrast=InstructionContrast(model))


@pytest.fixture
def fake_model() -> type[FakeModel]:
    return FakeModel


@pytest.fixture
def graph_over() -> Callable[[FakeModel], PairGraph]:
    return lambda model: build_pair_graph(make_roles(model))


@pytest.fixture
def roles_over() -> Callable[[FakeModel], RoleSet]:
    return make_roles


@pytest.fixture
def plain() -> Answer:
    return plain_answer


@pytest.fixture
def seeds() -> list[PreferencePair]:
    """Seven pairs of one to three turns."""
    pairs = []
    for number in range(7):
        history = Conversation()
        for turn in range(number % 3):
            history = history.user(f"request {number}.{turn}").assistant(f"answer {number}.{turn}")
        history = history.user(f"last request {number}")
        chosen, rejected = history.assistant(f"good {number}"), history.assistant(f"bad {number}")
        pairs.append(PreferencePair(id=f"seed-{number}", chosen=chosen, rejected=rejected, source="made"))
    return pairs
