from .conversation import Conversation, Message, Role, StopReason
from .errors import InvalidInputError, MusicError
from .pairs import ContrastivePair, PreferencePair, TurnContrast, Usage
from .version import __version__

__all__ = [
    "ContrastivePair",
    "Conversation",
    "InvalidInputError",
    "Message",
    "MusicError",
    "PreferencePair",
    "Role",
    "StopReason",
    "TurnContrast",
    "Usage",
    "__version__",
]
