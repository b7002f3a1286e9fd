"""The models of a run: loaded from the endpoints of a config, and asked once each before the first pair."""

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
"""Who plays which role: `assistant` and `contrast`; `user` where users are simulated; `weaker` and `judge` if wanted.
One model may play several roles. Whoever made the models closes them."""
WrapModel: TypeAlias = Callable[[str, ChatModel], ChatModel]
"""Takes a role and a model, and returns a model in its place."""

_LOG = logging.getLogger(__name__)


class EndpointNotReadyError(MusicError):
    """An endpoint cannot play its role; nothing was asked of it but a word."""


@asynccontextmanager
async def load_models(config: RunConfig) -> AsyncIterator[Models]:
    """Load the models of a config for as long as the block lasts; roles that ask the same endpoint alike share one.

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
    """Return how a role's endpoint over HTTP is asked."""
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
        InvalidInputError: There is no such role, or nobody plays the assistant or the contrast.
    """
    if not {"assistant", "contrast"} <= models.keys() <= set(ROLES):
        got = ", ".join(models) or "none"
        raise InvalidInputError(f"expected models for assistant, contrast and others of {', '.join(ROLES)}; got {got}")
    return {role: models[role] for role in ROLES if role in models}


def model_names(models: Models) -> dict[str, str]:
    """Return the name of each role's model, without the address at which it happens to be served."""
    return {role: ",".join(models_of(model.name)) for role, model in models.items()}


def paced_endpoints(models: Models) -> list[PacedEndpoint]:
    """Return the endpoints over HTTP, replicas one by one, each once."""
    found = [endpoint for model in models.values() for endpoint in getattr(model, "endpoints", ())]
    return list({id(endpoint): endpoint for endpoint in found}.values())


async def probe_endpoints(models: Models, wrap: WrapModel, sampling_of: Callable[[str], Sampling]) -> None:
    """Ask every endpoint over HTTP once, all at the same time; again where a role has options of its own.

    A replica that is down does not stop the run while another of its model is live; one that refuses the request does,
    as requests that are routed to it would all fail. What is asked is journaled and counted.

    Args:
        models: Who plays which role.
        wrap: Charges what is asked to a role.
        sampling_of: How a role's model samples.

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
    troubles = await asyncio.gather(*(_probe(names, model, sampling, wrap) for model, sampling, names in asked))
    if told := [trouble for trouble in troubles if trouble]:
        raise EndpointNotReadyError("\n".join(told))


async def _probe(roles: list[str], model: ChatModel, sampling: Sampling, wrap: WrapModel) -> str:
    """Ask all replicas of a model; return what keeps it from playing its roles, nothing if nothing does."""
    replicas: tuple[OpenAIChatModel, ...] = getattr(model, "endpoints", ())
    probed = [wrap(roles[0], ProbedModel(replica)) for replica in replicas]
    errors = await asyncio.gather(*(_ask(one, sampling) for one in probed))
    failed = {replica: error for replica, error in zip(replicas, errors, strict=True) if error}
    for replica in [replica for replica, error in failed.items() if passes_by_itself(error)]:
        _LOG.warning("%s: the run begins all the same", failed.pop(replica))
    told = [await explain_failure(replica, error) for replica, error in failed.items()]
    if len(failed) == len(replicas) or any(isinstance(error, RequestRejectedError) for error in failed.values()):
        return "\n".join(f"{', '.join(roles)}: {one}" for one in told)
    for one in told:
        _LOG.warning("%s; the run begins with the other replicas", one)
    return ""


async def _ask(probed: ChatModel, sampling: Sampling) -> EndpointError | None:
    """Ask one endpoint; return its error if it gave no reply."""
    try:
        # A key of its own, so that it is asked again in every session, and counted.
        await probed.complete(probe(sampling, key=f"probe/{secrets.token_hex(8)}"))
    except EndpointError as error:
        return error
    except RoleFailedError:  # the run was asked to stop
        return None
    return None
