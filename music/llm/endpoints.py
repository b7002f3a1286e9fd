"""`load_model` loads a model by its specification, as users write it.

A scheme (`local`, `sandbox`) gives its loader as text, which is imported on first use, so this module does not depend
on those packages. `register_model_scheme` adds a scheme.
"""

import re
from pkgutil import resolve_name

from music.errors import InvalidInputError
from music.llm.chat import ChatModel
from music.llm.openai import OpenAIChatModel
from music.llm.replicas import ReplicatedModel
from music.llm.settings import ClientSettings
from music.registry import SANDBOX

__all__ = ["FORMS", "load_model", "read_remote", "register_model_scheme", "shown"]

FORMS = (
    "MODEL@BASE_URL (for example gemma-2-9b-it@http://127.0.0.1:8000/v1; several, separated by commas, are replicas), "
    "local:PATH_OR_HUB_ID (append ?chat_template=FILE_OR_NAME for a model without a chat template), or sandbox "
    "(sandbox:SKILL for another skill)"
)
"""The forms of an endpoint's specification, for messages."""
_REMOTE = re.compile(r"(.+)@(https?://.*)", re.IGNORECASE | re.DOTALL)
_USERINFO = re.compile(r"(https?://)[^/\s]*@", re.IGNORECASE)
_SCHEMES = {"local": "music.llm.local:load_local_model", SANDBOX: "music.sandbox.model:load_sandbox_model"}


def register_model_scheme(scheme: str, entry_point: str) -> None:
    """Let `load_model` accept endpoints `SCHEME` and `SCHEME:REST`.

    Args:
        scheme: The word before the colon.
        entry_point: `MODULE:FUNCTION`, imported on first use. The function takes the text after the colon, empty if
            there is none, and returns a `ChatModel`.
    """
    _SCHEMES[scheme] = entry_point


def load_model(spec: str, settings: ClientSettings | None = None) -> ChatModel:
    """Load the model that `spec` names.

    Example:
        >>> model = load_model("sandbox")
        >>> model.name
        'sandbox:good'

    Args:
        spec: `MODEL@BASE_URL` for an OpenAI-compatible server; several servers of one model are separated by commas
            (see `music.llm.replicas`). `local:PATH_OR_HUB_ID` for a transformers model in this process;
            `?chat_template=FILE_OR_NAME` after it sets its chat template (see `music.chat_template`). `sandbox` or
            `sandbox:SKILL` for the built-in models.
        settings: Settings of the HTTP client; other models ignore them.

    Returns:
        The model; close it when done. All models over HTTP share one pool of connections.

    Raises:
        InvalidInputError: The spec has none of these forms, or the model cannot be loaded.
    """
    scheme, colon, rest = spec.partition(":")
    if scheme in _SCHEMES and bool(rest) == bool(colon):
        model: ChatModel = resolve_name(_SCHEMES[scheme])(rest)
        return model
    remotes = [read_remote(part.strip()) for part in spec.split(",")]
    if not all(remotes):
        wanted = "MODEL@BASE_URL in each part, as only servers can be replicas" if len(remotes) > 1 else FORMS
        raise InvalidInputError(f"endpoint {shown(spec[:200])!r}: expected {wanted}")
    models = [OpenAIChatModel(*remote, settings) for remote in remotes if remote]
    return models[0] if len(models) == 1 else ReplicatedModel(models, (settings or ClientSettings()).bounded_retry)


def read_remote(spec: str) -> tuple[str, str] | None:
    """Return the model and the base URL of `MODEL@BASE_URL`; None for another form."""
    found = _REMOTE.fullmatch(spec)
    return (found[1], found[2]) if found else None


def shown(spec: str) -> str:
    """Return an endpoint without a user and password in its URL, so that it may be shown."""
    return _USERINFO.sub(r"\1...@", spec)
