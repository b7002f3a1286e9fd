"""The version of what is installed."""

from music.version import __version__

__all__ = ["__version__"]
