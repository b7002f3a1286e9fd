"""The progress of a run, live.

- `progress`: counts, and whether to stop; `metering` updates them.
- `events`: snapshots of all figures; `display`: shows them on a terminal, as lines or as JSON.
"""

from music_agents.progress.progress import RunProgress, StopCause, stop_on_signals

__all__ = ["RunProgress", "StopCause", "stop_on_signals"]
