"""`/v1/score`, the server's own protocol: conversations, or candidates of one history, each with its own error."""

from functools import partial
from typing import Any, Literal, Self

from pydantic import model_validator

from music.conversation import Conversation
from music.reward.tokens.contract import RewardStatistics
from music.serving.items import ItemError, ItemResult
from music.serving.pending import Answer
from music.serving.protocols.base import (
    ProtocolModel,
    Query,
    RefusedError,
    ScoringProtocol,
    encode_conversations,
    parse_conversation,
)

__all__ = ["NativeProtocol", "ScoreRequest", "ScoreResponse"]

Messages = list[dict[str, Any]]


class ScoreRequest(ProtocolModel):
    """Conversations to score: `conversations`, or `history` with `candidates`."""

    conversations: list[Messages] | None = None
    """Conversations, each a list of messages with `role` and `content` that ends with the assistant."""
    history: Messages | None = None
    """Messages up to a user message."""
    candidates: list[str] | None = None
    """Replies to the history; each is scored as a conversation."""
    per_turn: bool = False
    """Whether to return the reward after each assistant turn too."""
    normalize: bool = False
    """Whether to return scores minus their mean over a reference set, divided by their standard deviation, too."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.conversations is None) == (self.candidates is None) or (self.history is None) != (
            self.candidates is None
        ):
            raise ValueError("expected either conversations, or history and candidates")
        return self


class ScoreError(ProtocolModel):
    """Why there is no score."""

    code: str
    """A short name of the reason, such as `over_long`."""
    message: str
    """An explanation."""


class ScoreItem(ProtocolModel):
    """The result of one conversation."""

    index: int
    """Its place in the request."""
    score: float | None
    """The raw score; null if there is an error."""
    normalized_score: float | None = None
    """The normalised score, if it was asked for."""
    turns: list[float] | None = None
    """The reward after each assistant turn, if they were asked for."""
    num_dropped_turns: int = 0
    """Number of oldest exchanges that were dropped because the conversation was too long."""
    num_tokens: int = 0
    """Number of tokens that the score depends on."""
    error: ScoreError | None = None
    """Why there is no score."""


class ScoreUsage(ProtocolModel):
    """Sums over a request."""

    num_tokens: int
    """Number of tokens that the scores depend on."""


class ScoreResponse(ProtocolModel):
    """The results in the order of the request."""

    object: Literal["list"] = "list"
    model: str
    """The model's name."""
    fingerprint: str
    """Hash of what scores depend on; it changes if the server loads another checkpoint."""
    readout: str
    """How rewards become scores; see the contract."""
    data: list[ScoreItem]
    """One result for each conversation."""
    usage: ScoreUsage


class NativeProtocol(ScoringProtocol):
    """The server's own protocol."""

    path = "/v1/score"
    summary = "Score conversations, or candidate replies to one history."
    request = ScoreRequest
    response = ScoreResponse

    def query(self, body: ScoreRequest) -> Query:
        """Return what a request asks for."""
        conversations = _conversations(body)
        encode = partial(encode_conversations, conversations=conversations, per_turn=body.per_turn)
        return Query(len(conversations), encode, body)

    def write(self, query: Query, answer: Answer) -> dict[str, Any]:
        """Return one result for each conversation."""
        contract = answer.served.model.contract
        if query.body.normalize and contract.reference is None:
            message = "the model has no reference statistics to normalize by; ask without normalize"
            raise RefusedError(400, "no_reference", message)
        reference = contract.reference if query.body.normalize else None
        data = [_item(index, each, query.body.per_turn, reference) for index, each in enumerate(answer.results)]
        return {
            "object": "list",
            "model": answer.served.name,
            "fingerprint": answer.served.fingerprint,
            "readout": contract.readout,
            "data": data,
            "usage": {"num_tokens": sum(each.num_tokens for each in answer.results)},
        }

    def refuse(self, error: RefusedError) -> dict[str, Any]:
        """Return an error."""
        return {"error": {"code": error.code, "message": error.message}}


def _conversations(body: ScoreRequest) -> list[Conversation | ItemError]:
    if body.conversations is not None:
        return [parse_conversation(messages) for messages in body.conversations]
    history = body.history or []
    return [parse_conversation([*history, {"role": "assistant", "content": reply}]) for reply in body.candidates or []]


def _item(index: int, result: ItemResult, per_turn: bool, reference: RewardStatistics | None) -> dict[str, Any]:
    score, error = result.score, result.error
    normalized = None if score is None or reference is None else (score - reference.mean) / (reference.std or 1.0)
    return {
        "index": index,
        "score": score,
        "normalized_score": normalized,
        "turns": list(result.turns) if per_turn and error is None else None,
        "num_dropped_turns": result.num_dropped_turns,
        "num_tokens": result.num_tokens,
        "error": None if error is None else {"code": error.code, "message": error.message},
    }
