"""The flags of commands that ask endpoints, and what they come to."""

from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import Field
from typer import Context

from music.config import Config, Flag

if TYPE_CHECKING:
    from music.llm.openai import ClientSettings

__all__ = ["MaxTries", "Options", "Patience", "Requests", "client_settings", "options_flag"]

PANEL = "Requests"


def _with_those_of_the_file(ctx: Context, param: typer.CallbackParam, given: list[str] | None) -> list[str]:
    """Put the options of `--config` before those of the command line, which win."""
    from_file = (ctx.default_map or {}).get(param.name or "") or []
    return [*from_file, *(given or [])] if list(given or []) != list(from_file) else list(from_file)


def options_flag(name: str, help: str) -> Any:
    """Return a flag of request options under a name of its own; its help says whose options they are."""
    return typer.Option(name, metavar="KEY=VALUE", help=help, rich_help_panel=PANEL, callback=_with_those_of_the_file)


Options = Annotated[
    list[str] | None,
    options_flag(
        "--option",
        "Of requests, as top_p=0.9, or ROLE.KEY=VALUE for one role; may be repeated. Keys: temperature, top_p, stop, "
        "seed, max_tokens, max_tokens_field, extra_body.NAME, headers.NAME, query.NAME.",
    ),
]
MaxTries = Annotated[
    int | None,
    typer.Option(min=1, help="Tries of one request, 429s not counted.", show_default="5", rich_help_panel=PANEL),
]
Patience = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        metavar="SECONDS",
        help="Wait out an outage: no connection, or 5xx, uses up no tries for so long.",
        show_default="0",
        rich_help_panel=PANEL,
    ),
]


class Requests(Config):
    """The flags of commands that ask endpoints."""

    options: Annotated[tuple[str, ...], Flag(name="--option", metavar="KEY=VALUE", panel=PANEL, extends_file=True)] = ()
    """Of requests, as top_p=0.9, or ROLE.KEY=VALUE for one role; may be repeated. Keys: temperature, top_p, stop, seed,
    max_tokens, max_tokens_field, extra_body.NAME, headers.NAME, query.NAME."""
    max_tries: Annotated[int | None, Flag(panel=PANEL, show_default="5")] = Field(default=None, ge=1)
    """Tries of one request, 429s not counted."""
    patience: Annotated[float | None, Flag(panel=PANEL, metavar="SECONDS", show_default="0")] = Field(
        default=None, ge=0.0
    )
    """Wait out an outage: no connection, or 5xx, uses up no tries for so long."""

    def client_settings(self, **settings: Any) -> "ClientSettings":
        """Return the settings of an HTTP client; those that are not named are its own."""
        return client_settings(self.max_tries, self.patience, **settings)


def client_settings(max_tries: int | None, patience: float | None, **settings: Any) -> "ClientSettings":
    """Return the settings of an HTTP client; those that are None or not named are its own."""
    from music.llm.openai import ClientSettings
    from music.llm.retry import RetryPolicy

    given = {"max_tries": max_tries, "patience": patience}
    retry = RetryPolicy(**{name: value for name, value in given.items() if value is not None})
    return ClientSettings(retry=retry, **settings)
