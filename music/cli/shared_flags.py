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
    """Format of all rows, by default detected for each row; see docs/your-own-data.md."""
    split: str | None = None
    """Split of a folder or hub data set, also as SOURCE:SPLIT; by default train, or the only one."""
    consecutive: Literal["refuse", "merge"] = "refuse"
    """Two messages in a row by one speaker: refuse the row, or merge them."""
    strict: Annotated[bool, Flag(name="--strict")] = False
    """Stop at the first row that cannot be used."""

    def read(self, source: str) -> "PreferenceSet":
        """Read a preference file, folder or hub id, and report which rows were used and which were left out.

        Raises:
            InvalidInputError: The source cannot be read, or none of its rows can be used.
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
    """How often, and for how long, a request to an endpoint is retried."""

    max_tries: Annotated[int | None, Flag(panel=PANEL, show_default="5")] = Field(default=None, ge=1)
    """Tries of one request, 429s not counted."""
    patience: Annotated[float | None, Flag(panel=PANEL, metavar="SECONDS", show_default="0")] = Field(
        default=None, ge=0.0
    )
    """Wait for the end of an outage: for this long, failed connections and 5xx replies use up no tries."""

    def client_settings(self, **settings: Any) -> "ClientSettings":
        """Return the settings of an HTTP client, with the client's defaults for values that were not given."""
        from music.llm.retry import RetryPolicy
        from music.llm.settings import ClientSettings

        given = self.model_dump(include={*Retries.model_fields}, exclude_none=True)
        return ClientSettings(retry=RetryPolicy(**given), **settings)


class Requests(Retries):
    """How endpoints are asked."""

    options: Annotated[tuple[str, ...], Flag(name="--option", metavar="KEY=VALUE", panel=PANEL, extends_file=True)] = ()
    """Request option, as top_p=0.9, or ROLE.KEY=VALUE for one role; may be repeated. Keys: temperature, top_p, stop,
    seed, max_tokens, max_tokens_field, extra_body.NAME, headers.NAME, query.NAME."""
