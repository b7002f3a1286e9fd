"""The installed version; the toolkit's four packages are one distribution."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("music-rm")
