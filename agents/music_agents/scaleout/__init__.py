"""One run spread over worker processes on one machine, or over a Ray cluster.

- `coordinator`: deals shares of the run's indices to a crew of workers until enough pairs came out well, and merges.
- `dealing`, `orders`: what a worker is told to do; `board`: the figures that it sends meanwhile.
- `part`: a share on disk; `outcomes`: all shares together.
- `processes`, `cluster`: the two crews.
"""

from music_agents.scaleout.coordinator import simulate_in_shares
from music_agents.scaleout.orders import Crew, ShareFailedError, ShareFailure, ShareOrder
from music_agents.scaleout.part import is_shared
from music_agents.scaleout.processes import ProcessCrew

__all__ = ["Crew", "ProcessCrew", "ShareFailedError", "ShareFailure", "ShareOrder", "is_shared", "simulate_in_shares"]
