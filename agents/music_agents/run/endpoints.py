"""Who plays which role: endpoints as users write them, and the models behind them."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, fields

from pydantic import BaseModel, ConfigDict

from music.errors import InvalidInputError, MusicError
from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, EndpointError, RequestRejectedError, Sampling
from music.llm.connection import Connection
from music.llm.endpoints import load_model
from music.llm.openai import ClientSettings, OpenAIChatModel
from music.llm.options import parse_options
from music.llm.probing import ProbedModel, explain_failure, passes_by_itself, probe
from music.llm.spending.budget import models_of
from music_agents.failures import RoleFailedError
from music_agents.progress.events import PacedEndpoint

__all__ = [
    "EndpointNotReadyError",
    "RequestOptions",
    "RoleEndpoints",
    "RoleModels",
    "WrapModel",
    "probe_endpoints",
    "read_options",
]

SANDBOX = "sandbox"

WrapModel = Callable[[str, ChatModel], ChatModel]
"""Takes a role and a model, and returns a model that is one to those who ask it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleModels:
    """Who plays which role; one model may play several. Whoever made the models closes them.

    Attributes:
        user: Plays the user on both sides; None where no user's turn is simulated.
        assistant: Answers on the chosen side.
        contrast: Answers on the rejected side.
        weaker: Answers for the contrast `weaker_model`; None if that is not used.
        judge: Judges finished pairs; None for no judge.
    """

    user: ChatModel | None = None
    assistant: ChatModel
    contrast: ChatModel
    weaker: ChatModel | None = None
    judge: ChatModel | None = None

    def by_role(self) -> dict[str, ChatModel]:
        """Return the models that there are, by role."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {role: model for role, model in named.items() if model is not None}

    def wrapped(self, wrap: WrapModel) -> "RoleModels":
        """Return the models as another wraps them."""
        return RoleModels(**{role: wrap(role, model) for role, model in self.by_role().items()})

    def endpoints(self) -> list[PacedEndpoint]:
        """Return the endpoints over HTTP, replicas one by one, each once."""
        found = [endpoint for model in self.by_role().values() for endpoint in getattr(model, "endpoints", ())]
        return list({id(endpoint): endpoint for endpoint in found}.values())

    def names(self) -> dict[str, str]:
        """Return the name of each role's model, without the address at which it happens to be served."""
        return {role: ",".join(models_of(model.name)) for role, model in self.by_role().items()}


class RoleEndpoints(BaseModel):
    """The endpoint of each role, as `music.llm.load_model` reads it; replicas separated by commas."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str = SANDBOX
    """Plays the user on both sides; empty where no user's turn is simulated."""
    assistant: str = SANDBOX
    """Answers on the chosen side."""
    contrast: str = SANDBOX
    """Answers on the rejected side."""
    weaker: str = ""
    """Answers for the contrast `weaker_model`; empty if that is not used."""
    judge: str = ""
    """Judges finished pairs, as `sandbox` does by its oracle; empty for no judge."""
    client: ClientSettings = ClientSettings()
    """Time-outs, retries and pace of the endpoints over HTTP."""
    connections: Mapping[str, Connection] = {}
    """What a role's requests carry beside their body, by role; for all others it is the client's."""

    def by_role(self) -> dict[str, str]:
        """Return the endpoints that there are, by role."""
        return {role: spec for role, spec in self.model_dump(exclude={"client", "connections"}).items() if spec}

    def settings(self, role: str) -> ClientSettings:
        """Return how a role's endpoint is asked."""
        connection = self.connections.get(role, self.client.connection)
        return self.client.model_copy(update={"connection": connection})

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RoleModels]:
        """Open the models for as long as the block lasts; roles that ask the same endpoint alike share one."""
        opened: list[tuple[tuple[str, ClientSettings], ChatModel]] = []
        models: dict[str, ChatModel] = {}
        async with AsyncExitStack() as stack:
            for role, spec in self.by_role().items():
                wanted = spec, self.settings(role)
                model = next((model for asked, model in opened if asked == wanted), None)
                if model is None:
                    model = await stack.enter_async_context(aclosing(load_model(*wanted)))
                    opened.append((wanted, model))
                models[role] = model
            yield RoleModels(**models)


JUDGE = "judge"
ROLES = tuple(field.name for field in fields(RoleModels))


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """How the roles' requests are sent, as `SimulationConfig` and `RoleEndpoints` take it.

    Attributes:
        temperature: Of all roles but the judge that have none of their own.
        max_reply_tokens: Likewise.
        sampling: Of the roles that sample in another way than these two say, by role.
        connections: What requests carry beside their body, by role.
    """

    temperature: float | None
    max_reply_tokens: int | None
    sampling: Mapping[str, Sampling]
    connections: Mapping[str, Connection]


def read_options(
    options: Sequence[str] | None,
    temperature: float | None = None,
    max_reply_tokens: int | None = None,
    *,
    unplayed: Collection[str] = (),
) -> RequestOptions:
    """Read `--option` with its short forms; see `music.llm.options.parse_options`.

    Args:
        options: As given.
        temperature: Short form of one; likewise `max_reply_tokens`.
        max_reply_tokens: Of another.
        unplayed: Roles that nobody plays, and that so can have no options.

    Raises:
        InvalidInputError: An option cannot be read, is given in both forms, or is one of a role that nobody plays.
    """
    for option in options or ():
        role = option.partition("=")[0].partition(".")[0]
        if role in unplayed:
            raise InvalidInputError(f"--option {option.partition('=')[0]}: expected --{role}, too: nobody plays it")
    flags = {"--temperature": ("temperature", temperature), "--max-reply-tokens": ("max_tokens", max_reply_tokens)}
    read = parse_options(options or (), ROLES, apart=(JUDGE,), flags=flags)
    shared = read.pop("")
    usual = Sampling(temperature=shared.temperature, max_tokens=shared.max_tokens)
    return RequestOptions(
        temperature=shared.temperature,
        max_reply_tokens=shared.max_tokens,
        sampling={
            role: own.sampling
            for role, own in read.items()
            if own.sampling != (AS_THE_ENDPOINT_DOES if role == JUDGE else usual)
        },
        connections={role: own.connection for role, own in read.items() if own.connection != Connection()},
    )


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
