"""Request options of the roles, from the command line's flags to the settings of a run."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

from music.errors import InvalidInputError
from music.llm.chat import AS_THE_ENDPOINT_DOES, Sampling
from music.llm.connection import Connection
from music.llm.options import parse_options
from music_agents.run.models import RoleModels

__all__ = ["RoleOptions", "read_options"]

JUDGE = "judge"
ROLES = tuple(field.name for field in fields(RoleModels))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleOptions:
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
) -> RoleOptions:
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
    return RoleOptions(
        temperature=shared.temperature,
        max_reply_tokens=shared.max_tokens,
        sampling={
            role: own.sampling
            for role, own in read.items()
            if own.sampling != (AS_THE_ENDPOINT_DOES if role == JUDGE else usual)
        },
        connections={role: own.connection for role, own in read.items() if own.connection != Connection()},
    )
