from .chat import (
    BodyTruncatedError,
    ChatModel,
    ChatReply,
    ChatRequest,
    EndpointError,
    EndpointTimeoutError,
    EndpointUnavailableError,
    MalformedReplyError,
    RateLimitedError,
    ReplyOutcome,
    RequestRejectedError,
)
from .endpoints import open_model
from .journal import ChangedSettingsError, Journal, JournaledModel, JournalError, JournalLockedError
from .local import LocalChatModel
from .openai import ClientSettings, OpenAIChatModel
from .retry import RetryPolicy

__all__ = [
    "BodyTruncatedError",
    "ChangedSettingsError",
    "ChatModel",
    "ChatReply",
    "ChatRequest",
    "ClientSettings",
    "EndpointError",
    "EndpointTimeoutError",
    "EndpointUnavailableError",
    "Journal",
    "JournalError",
    "JournalLockedError",
    "JournaledModel",
    "LocalChatModel",
    "MalformedReplyError",
    "OpenAIChatModel",
    "RateLimitedError",
    "ReplyOutcome",
    "RequestRejectedError",
    "RetryPolicy",
    "open_model",
]
