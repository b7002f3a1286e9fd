"""The models of a run: loaded from the endpoints of a config, and probed before the first pair."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TypeAlias

from music.errors import InvalidInputError, MusicError
from music.llm.chat import ChatModel, EndpointError, RequestRejectedError, Sampling
from music.llm.endpoints import load_model
from music.llm.openai import OpenAIChatModel
from music.llm.pacing import PacingSettings
from music.llm.probing import ProbedModel, explain_failure, passes_by_itself, probe
from music.llm.retry import RetryPolicy
from music.llm.settings import ClientSettings
from music.llm.spending.budget import models_of
from music_agents.config import SimulationConfig
from music_agents.failures import RoleFailedError
from music_agents.progress.events import PacedEndpoint
from music_agents.run_config import ROLES, RunConfig

__all__ = ["EndpointNotReadyError", "Models", "WrapModel", "checked_models", "client_settings", "load_models"]
__all__ += ["model_names", "paced_endpoints", "probe_endpoints"]

Models: TypeAlias = Mapping[str, ChatModel]
"""Models by role: `assistant` and `contrast`, `user` if users are simulated, and optionally `weaker` and `judge`.
One model may play several roles. The creator of the models closes them."""
WrapModel: TypeAlias = Callable[[str, ChatModel], ChatModel]
"""Takes a role and its model, and returns the wrapped model."""

_LOG = logging.getLogger(__name__)


class EndpointNotReadyError(MusicError):
    """An endpoint cannot play its role; only a short probe was sent to it."""


@asynccontextmanager
async def load_models(config: RunConfig) -> AsyncIterator[Models]:
    """Load the models of a config for the duration of a block; roles with the same endpoint and settings share a model.

    Raises:
        InvalidInputError: An endpoint cannot be read, or is missing.
    """
    loaded: list[tuple[tuple[str, ClientSettings], ChatModel]] = []
    models: dict[str, ChatModel] = {}
    async with AsyncExitStack() as stack:
        for role, endpoint in config.endpoints().items():
            wanted = endpoint, client_settings(config, role)
            model = next((model for asked, model in loaded if asked == wanted), None)
            if model is None:
                model = await stack.enter_async_context(aclosing(load_model(*wanted)))
                loaded.append((wanted, model))
            models[role] = model
        yield models


def client_settings(config: RunConfig, role: str) -> ClientSettings:
    """Return the client settings of a role's endpoint over HTTP."""
    retry = {name: getattr(config, name) for name in ("max_tries", "patience", "backoff")}
    pacing = PacingSettings()
    if isinstance(config, SimulationConfig):
        pacing = PacingSettings(
            requests_per_minute=config.requests_per_minute, tokens_per_minute=config.tokens_per_minute
        )
    return ClientSettings(
        timeout=config.timeout,
        retry=RetryPolicy(**{name: value for name, value in retry.items() if value is not None}),
        pacing=pacing,
        connection=config.request_options()[role].connection,
    )


def checked_models(models: Models) -> Models:
    """Return models in the order of their roles.

    Raises:
        InvalidInputError: A role is unknown, or the assistant or the contrast is missing.
    """
    if not {"assistant", "contrast"} <= models.keys() <= set(ROLES):
        got = ", ".join(models) or "none"
        raise InvalidInputError(f"expected models for assistant, contrast and others of {', '.join(ROLES)}; got {got}")
    return {role: models[role] for role in ROLES if role in models}


def model_names(models: Models) -> dict[str, str]:
    """Return the name of each role's model, without its address."""
    return {role: ",".join(models_of(model.name)) for role, model in models.items()}


def paced_endpoints(models: Models) -> list[PacedEndpoint]:
    """Return the distinct endpoints over HTTP; each replica is one."""
    found = [endpoint for model in models.values() for endpoint in getattr(model, "endpoints", ())]
    return list({id(endpoint): endpoint for endpoint in found}.values())


async def probe_endpoints(models: Models, wrap: WrapModel, sampling_of: Callable[[str], Sampling]) -> None:
    """Send one request to every endpoint over HTTP, concurrently; one for each set of sampling settings.

    A replica that is down does not stop the run while another replica of its model is live. A replica that refuses the
    request does, as all requests that are routed to it would fail. The requests are journaled and counted.

    Args:
        models: Models by role.
        wrap: Charges the requests to a role.
        sampling_of: Returns the sampling settings of a role.

    Raises:
        EndpointNotReadyError: An endpoint refuses, or no replica of a model is live; the message names the fix.
    """
    asked: list[tuple[ChatModel, Sampling, list[str]]] = []
    for role, model in models.items():  # two models of one name may differ in their settings
        sampling = sampling_of(role)
        alike = (names for other, how, names in asked if other is model and how == sampling)
        if (names := next(alike, None)) is not None:
            names.append(role)
        else:
            asked.append((model, sampling, [role]))
    problems = await asyncio.gather(*(_probe(names, model, sampling, wrap) for model, sampling, names in asked))
    if any(problems):
        raise EndpointNotReadyError("\n".join(filter(None, problems)))


async def _probe(roles: list[str], model: ChatModel, sampling: Sampling, wrap: WrapModel) -> str:
    """Probe all replicas of a model; return why it cannot play its roles, or the empty string."""
    replicas: tuple[OpenAIChatModel, ...] = getattr(model, "endpoints", ())
    probed = [wrap(roles[0], ProbedModel(replica)) for replica in replicas]
    errors = await asyncio.gather(*(_ask(one, sampling) for one in probed))
    failed = {replica: error for replica, error in zip(replicas, errors, strict=True) if error}
    for replica in [replica for replica, error in failed.items() if passes_by_itself(error)]:
        _LOG.warning("%s: the run begins all the same", failed.pop(replica))
    reasons = [await explain_failure(replica, error) for replica, error in failed.items()]
    if len(failed) == len(replicas) or any(isinstance(error, RequestRejectedError) for error in failed.values()):
        return "\n".join(f"{', '.join(roles)}: {one}" for one in reasons)
    for one in reasons:
        _LOG.warning("%s; the run begins with the other replicas", one)
    return ""


async def _ask(probed: ChatModel, sampling: Sampling) -> EndpointError | None:
    """Probe one endpoint; return its error if it gave no reply."""
    try:
        # A new key, so that every session sends it and counts it.
        await probed.complete(probe(sampling, key=f"probe/{secrets.token_hex(8)}"))
    except EndpointError as error:
        return error
    except RoleFailedError:  # the run was stopped
        return None
    return None
