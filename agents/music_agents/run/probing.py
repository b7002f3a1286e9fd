"""Every endpoint of a run is asked once before its first pair; what that costs is journaled and counted."""

import asyncio
import logging
import secrets
from collections.abc import Callable

from music.errors import MusicError
from music.llm.chat import ChatModel, EndpointError, RequestRejectedError, Sampling
from music.llm.openai import OpenAIChatModel
from music.llm.probing import ProbedModel, explain_failure, passes_by_itself, probe
from music_agents.failures import RoleFailedError
from music_agents.run.models import RoleModels, WrapModel

__all__ = ["EndpointNotReadyError", "probe_endpoints"]

_LOG = logging.getLogger(__name__)


class EndpointNotReadyError(MusicError):
    """An endpoint cannot play its role; nothing was asked of it but a word."""


async def probe_endpoints(models: RoleModels, wrap: WrapModel, sampling_of: Callable[[str], Sampling]) -> None:
    """Ask every endpoint over HTTP once, all at the same time; again where a role has options of its own.

    A replica that is down does not stop the run while another of its model is live; one that refuses the request does,
    as requests that are routed to it would all fail.

    Args:
        models: Who plays which role.
        wrap: Charges what is asked to a role.
        sampling_of: How a role's model samples.

    Raises:
        EndpointNotReadyError: An endpoint refuses, or no replica of a model is live; says what to do.
    """
    asked: list[tuple[ChatModel, Sampling, list[str]]] = []
    for role, model in models.by_role().items():  # two models of one name may differ in their settings
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
    """Ask all replicas of a model; say what keeps it from playing its roles, nothing if nothing does."""
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
