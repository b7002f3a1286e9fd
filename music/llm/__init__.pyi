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
    StoppedWaitingError,
    TokenLogprobs,
)
from .connection import Connection
from .endpoints import load_model, register_model_scheme
from .journal import ChangedSettingsError, Journal, JournaledModel, JournalError, JournalLockedError
from .local import LocalChatModel
from .openai import OpenAIChatModel
from .options import RequestOptions, parse_options
from .pacing import Pacer, PacingSettings
from .replicas import ReplicatedModel
from .retry import RetryPolicy
from .settings import ClientSettings

__all__ = [
    "AS_THE_ENDPOINT_DOES",
    "BodyTruncatedError",
    "ChangedSettingsError",
    "ChatModel",
    "ChatReply",
    "ChatRequest",
    "ClientSettings",
    "Connection",
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
    "RequestOptions",
    "RequestRejectedError",
    "RetryPolicy",
    "Sampling",
    "StoppedWaitingError",
    "TokenLogprobs",
    "load_model",
    "parse_options",
    "register_model_scheme",
]
