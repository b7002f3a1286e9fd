from .chat import (
    AS_THE_ENDPOINT_DOES,
    BodyTruncatedError,
    ChatModel,
    ChatReply,
    ChatRequest,
    EndpointError,
    EndpointTimeoutError,
    EndpointUnavailableError,
    EndpointUnreachableError,
    MalformedReplyError,
    RateLimitedError,
    ReplyOutcome,
    RequestRejectedError,
    Sampling,
    TokenLogprobs,
)
from .endpoints import open_model
from .journal import ChangedSettingsError, Journal, JournaledModel, JournalError, JournalLockedError
from .local import LocalChatModel
from .openai import ClientSettings, OpenAIChatModel
from .pacing import Pacer, PacingSettings
from .replicas import ReplicatedModel
from .retry import RetryPolicy

__all__ = [
    "AS_THE_ENDPOINT_DOES",
    "BodyTruncatedError",
    "ChangedSettingsError",
    "ChatModel",
    "ChatReply",
    "ChatRequest",
    "ClientSettings",
    "EndpointError",
    "EndpointTimeoutError",
    "EndpointUnavailableError",
    "EndpointUnreachableError",
    "Journal",
    "JournalError",
    "JournalLockedError",
    "JournaledModel",
    "LocalChatModel",
    "MalformedReplyError",
    "OpenAIChatModel",
    "Pacer",
    "PacingSettings",
    "RateLimitedError",
    "ReplicatedModel",
    "ReplyOutcome",
    "RequestRejectedError",
    "RetryPolicy",
    "Sampling",
    "TokenLogprobs",
    "open_model",
]
