"""The command `music simulate`."""

from music_agents.cli.commands import simulate

__all__ = ["simulate"]
