"""`PROTOCOLS`: every protocol of the server. To add one, write its module and list it here."""

from music.serving.protocols.base import ScoringProtocol
from music.serving.protocols.native import NativeProtocol

__all__ = ["PROTOCOLS"]

PROTOCOLS: tuple[ScoringProtocol, ...] = (NativeProtocol(),)
"""One for each path."""
