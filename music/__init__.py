"""Reward models for multi-turn conversations (MUSIC, arXiv 2512.24693): the vocabulary.

Conversations and preference pairs are here; the rooms below hold LLM clients (`music.llm`), preference data
(`music.preferences`), the reward model (`music.reward`), the sandbox (`music.sandbox`) and evaluation.
"""

from music.conversation import Conversation, Message, Role, StopReason
from music.errors import InvalidInputError, MusicError
from music.pairs import ContrastivePair, PreferencePair, TurnContrast, Usage

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
]
