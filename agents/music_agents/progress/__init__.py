"""The progress of a run, live.

- `progress`: counts, and whether to stop; `metering` feeds it.
- `events`: all figures at one moment; `display`: on a terminal, as lines, as JSON.
"""

from music_agents.progress.progress import RunProgress, StopCause, stop_on_signals

__all__ = ["RunProgress", "StopCause", "stop_on_signals"]
