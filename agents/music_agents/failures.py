"""Failures as data: why a role gave up, the record of a failed pair, and the remedy for each reason."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from music.errors import MusicError
from music.llm.chat import (
    EndpointError,
    EndpointTimeoutError,
    EndpointUnavailableError,
    MalformedReplyError,
    RateLimitedError,
    RequestRejectedError,
)
from music.pairs import Usage

__all__ = ["FORMAT_FREE", "THINKING_OFF", "FailedPair", "FailureReason", "RoleFailedError", "RoleStopError"]
__all__ += ["UnfitReplyError", "advise", "failure_of", "failure_reason", "remedy", "shown"]

MAX_TEXT = 2000
"""Characters of a reply that a failure keeps."""


class FailureReason(StrEnum):
    """Why a pair failed."""

    REPLY_EMPTY = "reply_empty"
    REPLY_CUT = "reply_cut"
    REPLY_FILTERED = "reply_filtered"
    REPLY_TOOL_CALL = "reply_tool_call"
    REPLY_THOUGHT = "reply_thought"
    REPLY_UNPARSED = "reply_unparsed"
    REQUEST_REJECTED = "request_rejected"
    RATE_LIMITED = "rate_limited"
    ENDPOINT_UNAVAILABLE = "endpoint_unavailable"
    ENDPOINT_TIMEOUT = "endpoint_timeout"
    MALFORMED_REPLY = "malformed_reply"
    ENDPOINT_ERROR = "endpoint_error"
    IDENTICAL_SIDES = "identical_sides"
    NOT_CONTRASTED = "not_contrasted"
    NO_SIMILAR_REQUEST = "no_similar_request"
    ROLE_FAILED = "role_failed"
    USER_STOPPED = "user_stopped"
    USER_ROLE_FLIP = "user_role_flip"
    USER_REPEATS = "user_repeats"
    USER_LEAKS = "user_leaks"
    GATE_REFUSAL = "gate_refusal"
    GATE_LEAK = "gate_leak"
    GATE_FORMAT = "gate_format"
    GATE_LENGTH = "gate_length"
    JUDGE_DISAGREES = "judge_disagrees"
    INTERRUPTED = "interrupted"
    """The run was stopped; the pair is simulated again when the run resumes."""

    @property
    def is_of_endpoint(self) -> bool:
        """Whether an endpoint gave no reply, so the pair itself may be good."""
        return self in _ENDPOINT_REASONS.values()


_ENDPOINT_REASONS: dict[type[EndpointError], FailureReason] = {
    RequestRejectedError: FailureReason.REQUEST_REJECTED,
    RateLimitedError: FailureReason.RATE_LIMITED,
    EndpointTimeoutError: FailureReason.ENDPOINT_TIMEOUT,
    MalformedReplyError: FailureReason.MALFORMED_REPLY,
    EndpointUnavailableError: FailureReason.ENDPOINT_UNAVAILABLE,
    EndpointError: FailureReason.ENDPOINT_ERROR,
}


class RoleFailedError(MusicError):
    """A role gives its pair up; the failed pair is data and the run continues.

    Attributes:
        reason: The reason under which the failure is counted.
        text: The last unusable reply; empty if there was none.
        attempts: Why each reply was unusable, as failure reasons.
        spent: The usage of all calls for the turn.
    """

    spent: Usage = Usage()

    def __init__(
        self,
        message: str,
        reason: FailureReason = FailureReason.ROLE_FAILED,
        text: str = "",
        attempts: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, reason, text, attempts)
        self.reason = reason
        self.text = text
        self.attempts = attempts

    def __str__(self) -> str:
        """Return the message alone."""
        return str(self.args[0])


class UnfitReplyError(MusicError):
    """A reply is complete but unusable; the role asks again if it has attempts left.

    Attributes:
        reason: The reason under which the pair is counted if no further reply is usable.
    """

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        """Return what is wrong with the reply."""
        return self.detail


class RoleStopError(MusicError):
    """The pair graph raises this if a role gave up; it names the role, the side and the turn.

    Attributes:
        error: The error of the role.
        reason: The reason under which the pair is counted.
        side: The rollout in which it spoke.
        role: Its name.
        turn: Index of the simulated turn.
    """

    def __init__(
        self, error: "RoleFailedError | EndpointError", side: Literal["chosen", "rejected"], role: str, turn: int
    ) -> None:
        super().__init__(error, side, role, turn)
        self.error = error
        self.reason = failure_reason(error)
        self.side = side
        self.role = role
        self.turn = turn

    def __str__(self) -> str:
        """Return the message of the role's error."""
        return str(self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedPair:
    """A pair that failed; one line of `failures.jsonl`.

    Attributes:
        index: Index of the pair in its run.
        id: The id that the pair would have had.
        seed_id: The preference pair that it started from.
        reason: The reason under which it is counted.
        detail: A description of the failure.
        role: `user`, `assistant`, `contrast` or `judge`; empty if no role failed.
        side: `chosen` or `rejected`; empty if the failure has no side.
        turn: Index of the simulated turn; None if the failure has no turn.
        usage: Of a pair that a gate dropped.
        retries: Of a pair that a gate dropped.
        judgement: Of a pair that a gate dropped.
        text: The unusable reply, up to `MAX_TEXT` characters; empty if none came.
        attempts: Why each reply of the role's last turn was unusable, as failure reasons.
        dropped: Whether the next index replaces the pair; if not, it is simulated again when the run resumes.
    """

    index: int
    id: str
    seed_id: str
    reason: FailureReason
    detail: str
    role: str = ""
    side: str = ""
    turn: int | None = None
    usage: Usage = field(default_factory=Usage)
    retries: tuple[str, ...] = ()
    judgement: str = ""
    text: str = ""
    attempts: tuple[str, ...] = ()
    dropped: bool = True


def shown(text: str) -> str:
    """Return the beginning of an untrusted text, without characters that control a terminal."""
    kept = text[:MAX_TEXT] + ("…" if len(text) > MAX_TEXT else "")
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in kept)


def failure_of(error: RoleFailedError | EndpointError | RoleStopError) -> dict[str, Any]:
    """Return the fields of a `FailedPair` that an error determines."""
    cause = error.error if isinstance(error, RoleStopError) else error
    fields: dict[str, Any] = {"reason": failure_reason(cause), "detail": str(cause)}
    if isinstance(cause, RoleFailedError):
        fields |= {"text": shown(cause.text), "attempts": cause.attempts}
    return fields


def failure_reason(error: RoleFailedError | EndpointError) -> FailureReason:
    """Return the reason under which an error of a role is counted."""
    if isinstance(error, RoleFailedError):
        return error.reason
    return next(reason for kind, reason in _ENDPOINT_REASONS.items() if isinstance(error, kind))


FORMAT_FREE = ("forget", "stale")
"""Contrasts whose replies need no format, as the assistant answers as usual."""
THINKING_OFF = "--option extra_body.chat_template_kwargs.enable_thinking=false"
"""Switches thinking off, on most servers."""

_NO_THINKING = f"or switch thinking off, on most servers by {THINKING_OFF}"
_OTHER_CONTRAST = f"--strategy {','.join(FORMAT_FREE)} needs no format; or name a stronger --contrast"
_OTHER_USER = "name another --user, or turn the gates off with --no-gates"
_REMEDIES = {
    FailureReason.REPLY_UNPARSED: f"this model does not keep to the contrast's format: {_OTHER_CONTRAST}",
    FailureReason.REPLY_CUT: f"raise --max-reply-tokens, or the server's own limit of a reply; {_NO_THINKING}",
    FailureReason.REPLY_THOUGHT: f"raise --max-reply-tokens; {_NO_THINKING}",
    FailureReason.REPLY_EMPTY: "try a prompt on the server by hand, and see its log: often it is the chat template",
    FailureReason.REPLY_FILTERED: "the endpoint's filter stops these replies: take other seeds, or another endpoint",
    FailureReason.REPLY_TOOL_CALL: "serve the model without tools",
    FailureReason.REQUEST_REJECTED: "fix what the server's message names",
    FailureReason.RATE_LIMITED: "lower --max-in-flight, or set --requests-per-minute to what the endpoint allows",
    FailureReason.ENDPOINT_UNAVAILABLE: "see the server's log; --patience SECONDS waits out an outage",
    FailureReason.ENDPOINT_TIMEOUT: "raise --timeout, or lower --max-in-flight",
    FailureReason.MALFORMED_REPLY: "ask the server by hand: expected are chat completions as OpenAI's, not streamed",
    FailureReason.ENDPOINT_ERROR: "see the server's log",
    FailureReason.USER_ROLE_FLIP: f"as the user this model speaks as the assistant: {_OTHER_USER}",
    FailureReason.USER_REPEATS: f"as the user this model repeats itself: raise its temperature, or {_OTHER_USER}",
    FailureReason.USER_STOPPED: f"as the user this model ends the conversation too early: lower --turns, {_OTHER_USER}",
    FailureReason.USER_LEAKS: f"as the user this model recites its instructions: {_OTHER_USER}",
    FailureReason.NOT_CONTRASTED: "contrast more turns (--schedule all), or name another --strategy",
    FailureReason.NO_SIMILAR_REQUEST: "give more conversations, lower --min-similarity, or raise --max-length-ratio",
    FailureReason.IDENTICAL_SIDES: "give seeds of more turns, or name another --strategy",
    FailureReason.GATE_REFUSAL: "take other seeds, or another --contrast; --no-gates keeps such pairs",
    FailureReason.GATE_LEAK: "name a stronger --contrast, or another --strategy; --no-gates keeps such pairs",
    FailureReason.GATE_FORMAT: "check the server's chat template and stop tokens; --no-gates keeps such pairs",
    FailureReason.GATE_LENGTH: "bound replies with --max-reply-tokens; --no-gates keeps such pairs",
    FailureReason.JUDGE_DISAGREES: "read some of the pairs: the contrast may be too weak for this judge",
    FailureReason.ROLE_FAILED: "see what the role's own code reports",
}


def remedy(reason: FailureReason) -> str:
    """Return the remedy for a failure reason, which names flags; empty for interrupted pairs."""
    return _REMEDIES.get(reason, "")


def advise(reason: FailureReason) -> str:
    """Return the last sentence of the message of a stopped run: the remedy for a reason."""
    advice = remedy(reason) or "fix the cause"
    return f"{advice[0].upper()}{advice[1:]}. Then run again"
