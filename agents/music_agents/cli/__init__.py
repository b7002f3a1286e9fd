"""The commands `music simulate` and `music defects`."""

from music_agents.cli.commands import defects, simulate

__all__ = ["defects", "simulate"]
