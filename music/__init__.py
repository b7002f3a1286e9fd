"""Reward models for multi-turn conversations (MUSIC, arXiv 2512.24693).

This package defines conversations and preference pairs. Its subpackages contain LLM clients (`music.llm`), preference
data (`music.preferences`), the reward model (`music.reward`), judges, evaluation and the sandbox. Names are imported on
first use.

Example:
    >>> from music import Conversation
    >>> Conversation().user("Hi!").assistant("Hello.").num_turns
    1
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
