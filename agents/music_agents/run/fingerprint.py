"""What every session of a run must share; the journal refuses to go on under anything else."""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from music.pairs import PreferencePair
from music.prompts import CONTRAST_PROMPTS, JUDGE_PROMPT, USER_PROMPT
from music_agents.personas import PERSONA_HEADINGS, PersonaSource
from music_agents.run.config import SimulationConfig
from music_agents.run.models import RoleModels
from music_agents.seeds import digest_seeds

__all__ = ["fingerprint"]

_LAYOUT = 2
"""Version of the layout of keys, seeds and files; a change of it ends the resuming of older runs."""


def fingerprint(
    seeds: Sequence[PreferencePair],
    models: RoleModels,
    config: SimulationConfig,
    personas: PersonaSource | None,
    graph: Callable[..., Any],
    share: str,
) -> dict[str, Any]:
    """Return the settings of a run by name, as JSON values; addresses of endpoints are not among them."""
    return config.fixed() | {
        "seed_pairs": f"{len(seeds)} pairs, digest {digest_seeds(seeds)}",
        "personas": personas.digest() if personas else "",
        "models": models.names(),
        "prompts": f"digest {_digest((USER_PROMPT, PERSONA_HEADINGS, CONTRAST_PROMPTS, JUDGE_PROMPT))}",
        "graph": _describe(graph),
        "share": share,
        "layout": _LAYOUT,
    }


def _describe(graph: Callable[..., Any]) -> str:
    """Name what builds the graph; one of the user's own comes with a digest of the file it stands in."""
    name = f"{graph.__module__}.{graph.__qualname__}"
    if graph.__module__.startswith("music_agents."):
        return name
    source = inspect.getsourcefile(graph)
    return f"{name}, digest {_digest(Path(source).read_text() if source else name)}"


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()
