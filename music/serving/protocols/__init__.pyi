from .base import Query, RefusedError, ScoringProtocol
from .routes import PROTOCOLS

__all__ = ["PROTOCOLS", "Query", "RefusedError", "ScoringProtocol"]
