"""Registration of the environments with Gymnasium; importing `music_envs` does it.

Gymnasium 1.0 removed its plug-in entry points, so an environment of another package is known once that package is
imported: `import music_envs`, or in one go `gymnasium.make("music_envs:music/Chat-v0")`.
"""

import gymnasium

__all__ = ["CHAT_ID", "register_envs"]

CHAT_ID = "music/Chat-v0"


def register_envs() -> None:
    """Register the environments; calling it again changes nothing. The environment itself is imported when made."""
    if CHAT_ID not in gymnasium.registry:
        gymnasium.register(
            id=CHAT_ID,
            entry_point="music_envs.chat.env:ChatEnv",
            vector_entry_point="music_envs.chat.vector:ChatVectorEnv",
        )
