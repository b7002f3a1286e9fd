"""`ViewerConfig`: the settings of `music view`. The command line reads its flags from here."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from music.config import Config, Flag

__all__ = ["Selection", "ViewerConfig"]


class Selection(Config):
    """Which conversations a static page has, and in which order."""

    search: str = ""
    """Those with all these words; "words in quotes" in this order, word* for words that begin so."""
    filter: tuple[str, ...] = ()
    """NAME=VALUE as in the address of a list, such as strategy=instruction; may be repeated."""
    sort: str = ""
    """Their order as in the address of a list: file, newest, gap, early, late; by default that of the files."""
    ids: tuple[str, ...] = ()
    """Those with these ids, in this order; may be repeated."""
    worst: int | None = Field(default=None, ge=1)
    """The N pairs with the lowest margins: the reward of the chosen side less that of the rejected one."""
    limit: int = Field(default=50, ge=1)
    """The most conversations."""


class ViewerConfig(Config):
    """Settings of the viewer.

    Example:
        >>> ViewerConfig(port=0).host
        '127.0.0.1'
    """

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8400, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    open: Annotated[bool, Flag(name="--open")] = False
    """Open the page in the browser."""
    models: Annotated[tuple[str, ...], Flag(name="--model")] = ()
    """Show the rewards of this model, as in `music score`: a folder, MODEL@URL, or a file of `music score --per-turn`;
    give it again for more."""
    labels: Path | None = None
    """File of your labels (SQLite); by default `labels.sqlite` in your data folder, which serves all sets."""
    labeller: str = ""
    """Your name, saved with your labels."""
    agreement: Annotated[bool, Flag(name="--agreement")] = False
    """Print how often your labels agree with the data and the models, and end."""
    export: Path | None = None
    """Write the labelled pairs to this parquet file, and end."""
    static: Path | None = None
    """Write some conversations to this HTML file, which opens anywhere without a server, and end."""
    selection: Annotated[Selection, Flag(panel="Selection for --static")] = Selection()
    """What is in the static page."""
    insecure: Annotated[bool, Flag(name="--insecure")] = False
    """Listen on other addresses than loopback: anybody who reaches them can read and label the conversations."""
