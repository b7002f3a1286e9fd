"""Who plays which role: endpoints as users write them, and the models behind them."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, fields

from pydantic import BaseModel, ConfigDict

from music.llm.chat import ChatModel
from music.llm.connection import Connection
from music.llm.endpoints import load_model
from music.llm.openai import ClientSettings
from music.llm.spending.budget import models_of
from music.registry import SANDBOX
from music_agents.progress.events import PacedEndpoint

__all__ = ["RoleEndpoints", "RoleModels", "WrapModel"]


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
