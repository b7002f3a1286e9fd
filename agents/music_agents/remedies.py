"""What to do about replies that are of no use, by the account that they go under."""

from music_agents.failures import FailureReason

__all__ = ["FORMAT_FREE", "remedy"]

FORMAT_FREE = ("forget", "stale")
"""Contrasts in which the assistant answers as usual, so that no reply has to keep to a format."""

_OTHER_CONTRAST = f"--strategy {','.join(FORMAT_FREE)} needs no format; or name a stronger --contrast"
_OTHER_USER = "name another --user, or turn the gates off with --no-gates"
_REMEDIES = {
    FailureReason.REPLY_UNPARSED: f"this model does not keep to the contrast's format: {_OTHER_CONTRAST}",
    FailureReason.REPLY_CUT: "raise --max-reply-tokens, or the server's own bound on a reply",
    FailureReason.REPLY_THOUGHT: "raise --max-reply-tokens, or switch the model's thinking off",
    FailureReason.REPLY_EMPTY: "see in the server's log why replies are empty: often it is the chat template",
    FailureReason.REPLY_FILTERED: "the endpoint's filter stops these replies: take other seeds, or another endpoint",
    FailureReason.REPLY_TOOL_CALL: "switch tools off at the server",
    FailureReason.USER_ROLE_FLIP: f"as the user this model speaks as the assistant: {_OTHER_USER}",
    FailureReason.USER_REPEATS: f"as the user this model repeats itself: raise its temperature, or {_OTHER_USER}",
    FailureReason.USER_STOPPED: f"as the user this model ends the conversation too early: {_OTHER_USER}",
    FailureReason.USER_LEAKS: f"as the user this model recites its instructions: {_OTHER_USER}",
    FailureReason.NOT_CONTRASTED: "contrast more turns (--schedule all), or name another --strategy",
    FailureReason.IDENTICAL_SIDES: "give seeds of more turns, or name another --strategy",
    FailureReason.JUDGE_DISAGREES: "read some of the pairs: the contrast may be too weak for this judge",
}


def remedy(reason: FailureReason) -> str:
    """Return what to do about an account of failures, naming flags; nothing where the failure itself says it."""
    return _REMEDIES.get(reason, "")
