"""Request options of a run's two players, from the command line's flags."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from music.cli import client_settings
from music.errors import InvalidInputError
from music.llm.options import parse_options
from music_envs.best_of_n.remembering import PARTS, PlayerOptions

__all__ = ["read_player_options"]


def read_player_options(
    options: Sequence[str] | None, max_tries: int | None, patience: float | None, **assistants: Any
) -> dict[str, PlayerOptions]:
    """Return how the players are asked, by part.

    Args:
        options: As `music.llm.options.parse_options` reads them.
        max_tries: Of one request.
        patience: Seconds in which an outage uses up no tries.
        assistants: Short forms of the assistant's sampling, by field; None for what was not given.

    Raises:
        InvalidInputError: An option cannot be read, or is given in both forms.
    """
    read = parse_options(options or (), PARTS)
    client = client_settings(max_tries, patience)
    found = {
        part: PlayerOptions(read[part].sampling, client.model_copy(update={"connection": read[part].connection}))
        for part in PARTS
    }
    short = {name: value for name, value in assistants.items() if value is not None}
    for name in short:
        if getattr(found["assistant"].sampling, name) is not None:
            raise InvalidInputError(f"--option {name}=...: expected this or the flag of that name, got both")
    own = found["assistant"]
    return found | {"assistant": replace(own, sampling=replace(own.sampling, **short))}
