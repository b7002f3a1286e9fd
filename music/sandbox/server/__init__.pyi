from .config import ServerConfig
from .process import sandbox_server, serve

__all__ = ["ServerConfig", "sandbox_server", "serve"]
