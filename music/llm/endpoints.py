"""Endpoints as users write them, opened as models."""

import re
from collections.abc import Callable

from music.errors import InvalidInputError
from music.llm.chat import ChatModel
from music.llm.openai import ClientSettings, OpenAIChatModel
from music.llm.replicas import ReplicatedModel
from music.names import did_you_mean

__all__ = ["load_model", "read_remote", "shown"]

_REMOTE = re.compile(r"(.+)@(https?://.*)", re.IGNORECASE | re.DOTALL)
_USERINFO = re.compile(r"(https?://)[^/\s]*@", re.IGNORECASE)
_FORMS = (
    "MODEL@BASE_URL (for example gemma-2-9b-it@http://127.0.0.1:8000/v1; several, separated by commas, are replicas), "
    "local:PATH_OR_HUB_ID (with ?chat_template=FILE_OR_NAME behind it for a model that has none), or sandbox "
    "(sandbox:SKILL for another skill)"
)


def load_model(spec: str, settings: ClientSettings | None = None) -> ChatModel:
    """Open the model that `spec` names.

    Args:
        spec: `MODEL@BASE_URL` for an OpenAI-compatible server, `local:PATH_OR_HUB_ID` for a transformers model in this
            process (loaded before this returns; `?chat_template=FILE_OR_NAME` behind it gives it a chat template, see
            `music.chat_template`), `sandbox` or `sandbox:SKILL`. Servers of one model are listed as
            `MODEL@BASE_URL,MODEL@BASE_URL`; see `music.llm.replicas`.
        settings: Of the HTTP client; other models have no use for them.

    Returns:
        The model; close it when done. All models over HTTP share one pool of connections.

    Raises:
        InvalidInputError: The spec has none of these forms, or what it names cannot be opened.
    """
    scheme, colon, rest = spec.partition(":")
    if scheme in _OPENERS and bool(rest) == bool(colon):
        return _OPENERS[scheme](rest)
    remotes = [read_remote(part.strip()) for part in spec.split(",")]
    if not all(remotes):
        wanted = "MODEL@BASE_URL in each part, as only servers can be replicas" if len(remotes) > 1 else _FORMS
        raise InvalidInputError(f"endpoint {shown(spec[:200])!r}: expected {wanted}")
    models = [OpenAIChatModel(*remote, settings) for remote in remotes if remote]
    return models[0] if len(models) == 1 else ReplicatedModel(models, (settings or ClientSettings()).bounded_retry)


def read_remote(spec: str) -> tuple[str, str] | None:
    """Return the model and the base URL of `MODEL@BASE_URL`; None for what has another form."""
    found = _REMOTE.fullmatch(spec)
    return (found[1], found[2]) if found else None


def shown(spec: str) -> str:
    """Return an endpoint as it may be shown: without a user and password that its URL should not have."""
    return _USERINFO.sub(r"\1...@", spec)


def _open_local(path: str) -> ChatModel:
    from music.llm.local import TEMPLATE_QUERY, LocalChatModel

    model, has_template, chat_template = path.partition(TEMPLATE_QUERY)
    if not model or (has_template and not chat_template):
        raise InvalidInputError(f"endpoint {f'local:{path}'.rstrip(':')!r}: expected {_FORMS}")
    return LocalChatModel(model, chat_template or None)


def _open_sandbox(skill: str) -> ChatModel:
    from music.sandbox.model import SKILLS, SandboxModel

    if skill and skill not in SKILLS:
        raise InvalidInputError(
            f"endpoint 'sandbox:{skill[:40]}': expected a skill of {', '.join(SKILLS)}{did_you_mean(skill, SKILLS)}"
        )
    return SandboxModel(skill) if skill else SandboxModel()


_OPENERS: dict[str, Callable[[str], ChatModel]] = {"local": _open_local, "sandbox": _open_sandbox}
