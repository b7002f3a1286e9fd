"""Flags that several commands share, as config models for `with_flags`: `Reading`, `Retries` and `Requests`."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from music.cli.output import console
from music.config import Config, Flag
from music.errors import InvalidInputError

if TYPE_CHECKING:
    from music.llm.settings import ClientSettings
    from music.preferences import PreferenceSet

__all__ = ["Reading", "Requests", "Retries"]

PANEL = "Requests"


class Reading(Config):
    """How preference files are read."""

    format: str | None = None
    """Shape of all rows, as docs/your-own-data.md names it; by default it is found for each row."""
    split: str | None = None
    """Which split of a folder or hub data set; also SOURCE:SPLIT. By default train, or the only one."""
    consecutive: Literal["refuse", "merge"] = "refuse"
    """Two messages in a row by one speaker: refuse the row, or merge them."""
    strict: Annotated[bool, Flag(name="--strict")] = False
    """Stop at the first row that cannot be used."""

    def read(self, source: str) -> "PreferenceSet":
        """Read a preference file, folder or hub id, and report what was used and what was left out.

        Raises:
            InvalidInputError: The source cannot be read, or not one of its rows can be used.
        """
        from music.preferences import Consecutive, parse_format, read_preferences

        found = read_preferences(
            source,
            format=parse_format(self.format),
            split=self.split,
            strict=self.strict,
            consecutive=Consecutive(self.consecutive),
        )
        console.print(found.summary(), markup=False, highlight=False, soft_wrap=True)
        if not found.pairs:
            raise InvalidInputError(f"{source}: expected at least one usable preference pair, got none")
        return found


class Retries(Config):
    """How often, and for how long, a request to an endpoint is tried."""

    max_tries: Annotated[int | None, Flag(panel=PANEL, show_default="5")] = Field(default=None, ge=1)
    """Tries of one request, 429s not counted."""
    patience: Annotated[float | None, Flag(panel=PANEL, metavar="SECONDS", show_default="0")] = Field(
        default=None, ge=0.0
    )
    """Wait out an outage: no connection, or 5xx, uses up no tries for this long."""

    def client_settings(self, **settings: Any) -> "ClientSettings":
        """Return the settings of an HTTP client; what was not given is the client's own."""
        from music.llm.retry import RetryPolicy
        from music.llm.settings import ClientSettings

        given = self.model_dump(include={*Retries.model_fields}, exclude_none=True)
        return ClientSettings(retry=RetryPolicy(**given), **settings)


class Requests(Retries):
    """How endpoints are asked."""

    options: Annotated[tuple[str, ...], Flag(name="--option", metavar="KEY=VALUE", panel=PANEL, extends_file=True)] = ()
    """Of requests, as top_p=0.9, or ROLE.KEY=VALUE for one role; may be repeated. Keys: temperature, top_p, stop, seed,
    max_tokens, max_tokens_field, extra_body.NAME, headers.NAME, query.NAME."""
