"""What every session of a run must share; the journal refuses to go on under anything else."""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.prompts import CONTRAST_PROMPTS, USER_PROMPT, contrast_frame, render_judge
from music_agents.personas import PERSONA_HEADINGS, PersonaSource
from music_agents.run.config import SimulationConfig
from music_agents.run.models import RoleModels
from music_agents.seeds import Seed, digest_seeds

__all__ = ["common_settings", "fingerprint"]

_LAYOUT = 3
"""Version of the layout of keys, seeds and files; a change of it ends the resuming of older runs."""


def fingerprint(
    seeds: Sequence[Seed | PreferencePair],
    models: RoleModels,
    config: SimulationConfig,
    personas: PersonaSource | None,
    graph: Callable[..., Any],
    share: str,
    imports: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the settings of a run by name, as JSON values; addresses of endpoints are not among them."""
    return common_settings(models, config, imports) | {
        "seed_pairs": f"{len(seeds)} pairs, digest {digest_seeds(seeds)}",
        "personas": personas.digest() if personas else "",
        "graph": _describe(graph),
        "share": share,
    }


def common_settings(
    models: RoleModels, config: SimulationConfig, imports: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the settings that any run has, wherever its pairs come from; `imports` only where there are any."""
    judge_prompt = render_judge(Conversation(), Conversation())
    contrasts = [contrast_frame(part, config.contrast_format) for part in CONTRAST_PROMPTS]
    return config.fixed() | {
        "models": models.names(),
        "prompts": f"digest {_digest((USER_PROMPT, PERSONA_HEADINGS, contrasts, judge_prompt))}",
        "layout": _LAYOUT,
        **({"imports": dict(imports)} if imports else {}),
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
