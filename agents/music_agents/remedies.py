"""What to do about failures, by the account that they go under: one text for every message that names a remedy."""

from music_agents.failures import FailureReason

__all__ = ["FORMAT_FREE", "THINKING_OFF", "advise", "remedy"]

FORMAT_FREE = ("forget", "stale")
"""Contrasts in which the assistant answers as usual, so that no reply has to keep to a format."""
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
    FailureReason.IDENTICAL_SIDES: "give seeds of more turns, or name another --strategy",
    FailureReason.GATE_REFUSAL: "take other seeds, or another --contrast; --no-gates keeps such pairs",
    FailureReason.GATE_LEAK: "name a stronger --contrast, or another --strategy; --no-gates keeps such pairs",
    FailureReason.GATE_FORMAT: "check the server's chat template and stop tokens; --no-gates keeps such pairs",
    FailureReason.GATE_LENGTH: "bound replies with --max-reply-tokens; --no-gates keeps such pairs",
    FailureReason.JUDGE_DISAGREES: "read some of the pairs: the contrast may be too weak for this judge",
    FailureReason.ROLE_FAILED: "see what the role's own code reports",
}


def remedy(reason: FailureReason) -> str:
    """Return what to do about an account of failures, naming flags; nothing for pairs that were interrupted."""
    return _REMEDIES.get(reason, "")


def advise(reason: FailureReason) -> str:
    """Return the end of a message of a run that stopped: what to do about the reason before running again."""
    told = remedy(reason) or "fix the cause"
    return f"{told[0].upper()}{told[1:]}. Then run again"
