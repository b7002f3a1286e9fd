"""The protocol of `music serve`: many conversations a request, each with its own error, and rewards after each turn."""

from collections.abc import Sequence
from typing import Any

from music.conversation import Conversation
from music.llm.chat import EndpointUnavailableError
from music.reward.remote.wire import Outcome, Reply, ServerModel, Wire
from music.reward.tokens.contract import Scored, Unscorable

__all__ = ["MusicWire"]

_OF_CONVERSATIONS = {*Unscorable, "invalid_conversation"}
"""Errors for which a conversation is to blame. For all others it is the server, and another try may succeed."""


class _Error(ServerModel):
    code: str
    message: str


class _Item(ServerModel):
    index: int
    score: float | None
    turns: list[float] | None = None
    num_dropped_turns: int = 0
    error: _Error | None = None


class _Scores(ServerModel):
    fingerprint: str
    data: list[_Item]


class MusicWire(Wire):
    """`POST /v1/score` of `music serve`. Candidates of one history are sent with the history once."""

    path = "v1/score"
    has_turns = True
    is_raw = True

    async def ask(
        self, conversations: Sequence[Conversation], *, per_turn: bool = False, activated: bool = False
    ) -> Reply:
        """Score conversations in one request; see `Wire.ask`."""
        answer = await self.post(_body(conversations) | {"per_turn": per_turn})
        scores = self.read(_Scores, answer, "data[i].score")
        if [item.index for item in scores.data] != list(range(len(conversations))):
            raise self.malformed(f"one result for each of {len(conversations)} conversations, in order", answer)
        for item, conversation in zip(scores.data, conversations, strict=True):
            wanted = conversation.num_turns if per_turn and item.error is None else None
            if (item.score is None) != (item.error is not None) or (wanted and len(item.turns or ()) != wanted):
                raise self.malformed(f"a score and its turns, or an error, for data[{item.index}]", answer)
        return Reply([self._outcome(item) for item in scores.data], scores.fingerprint)

    def _outcome(self, item: _Item) -> Outcome:
        if item.error is None:
            return Outcome(Scored(item.score, tuple(item.turns or ()), item.num_dropped_turns))
        code, message = item.error.code, item.error.message
        if code not in _OF_CONVERSATIONS:
            raise self.failed(f"data[{item.index}] was not scored: {code} ({message})", EndpointUnavailableError)
        problem = Unscorable(code) if code in {*Unscorable} else Unscorable.REFUSED
        return Outcome(Scored(None, problem=problem), f"{code} ({message})")


def _body(conversations: Sequence[Conversation]) -> dict[str, Any]:
    """Return the conversations as fields: as one history and candidates if only their last messages differ."""
    history, lasts = conversations[0].messages[:-1], [each.messages[-1] for each in conversations]
    is_shared = all(each.messages[:-1] == history for each in conversations[1:])
    if len(lasts) > 1 and is_shared and not any(last.is_of_tools or last.name for last in lasts):
        return {
            "history": [message.to_dict() for message in history],
            "candidates": [last.content for last in lasts],
        }
    return {"conversations": [each.to_messages() for each in conversations]}
