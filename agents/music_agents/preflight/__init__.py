"""The preflight (`music simulate --check`): what the models of a run can do, measured before the run.

- `checking`: plays a few pairs and counts; `verdict`: what follows from the counts, and what to do.
"""

from music_agents.preflight.checking import check_models
from music_agents.preflight.verdict import Measure, Preflight

__all__ = ["Measure", "Preflight", "check_models"]
