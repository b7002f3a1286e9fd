"""Registration of the environments with Gymnasium; importing `music_envs` does it.

Gymnasium 1.0 has no plug-in entry points: it knows an environment only after its package is imported. Write
`import music_envs`, or in one step `gymnasium.make("music_envs:music/Chat-v0")`.
"""

import gymnasium

__all__ = ["CHAT_ID", "register_envs"]

CHAT_ID = "music/Chat-v0"


def register_envs() -> None:
    """Register the environments; calling it again changes nothing. An environment is imported when it is made."""
    if CHAT_ID not in gymnasium.registry:
        gymnasium.register(
            id=CHAT_ID,
            entry_point="music_envs.chat.env:ChatEnv",
            vector_entry_point="music_envs.chat.vector:ChatVectorEnv",
        )
