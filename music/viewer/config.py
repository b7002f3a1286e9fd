"""`ViewerConfig`: the settings of `music view`. The command line reads its flags from here."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from music.config import Config, Flag

__all__ = ["ViewerConfig"]


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
    labels: Path | None = None
    """File of your labels (SQLite); by default `labels.sqlite` in your data folder, which serves all sets."""
    labeller: str = ""
    """Your name, saved with your labels."""
    agreement: Annotated[bool, Flag(name="--agreement")] = False
    """Print how often your labels agree with the data and the models, and end."""
    export: Path | None = None
    """Write the labelled pairs to this parquet file, and end."""
    insecure: Annotated[bool, Flag(name="--insecure")] = False
    """Listen on other addresses than loopback: anybody who reaches them can read and label the conversations."""
