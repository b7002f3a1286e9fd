from .config import ServingConfig
from .engine import ScoringEngine
from .server import reward_server, serve
from .service import ScoringService

__all__ = ["ScoringEngine", "ScoringService", "ServingConfig", "reward_server", "serve"]
