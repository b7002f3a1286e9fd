"""Settings that every session of a run must share; the journal refuses to resume with other settings."""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from music.conversation import Conversation
from music.pairs import PreferencePair
from music.prompts import CONTRAST_PROMPTS, USER_PROMPT, contrast_frame, render_judge
from music.user_code import digest_code
from music_agents.config import FREE_WITHOUT_ROWS, SimulationConfig
from music_agents.output.shard_folder import has_rows
from music_agents.personas import PERSONA_HEADINGS, PersonaSource
from music_agents.run.endpoints import Models, model_names
from music_agents.run.report import RunReport
from music_agents.seeds import Seed, digest_seeds

__all__ = ["Partition", "common_settings", "fingerprint", "free_settings", "has_changed"]


_STANDARD_GRAPH = "music_agents.run.casting.standard_graph"
"""The recorded name of the standard graph; it does not change when the code moves."""
_LAYOUT = 3
"""Version of the layout of keys, seeds and files; runs with another version cannot resume."""


_CHOSEN_SIDES, _NO_KEYS = "%/chosen/%", ""
"""Patterns of the keys of replies that stay valid when a free setting changes."""


@dataclass(frozen=True, slots=True)
class Partition:
    """The part of a run that one worker simulates: every index with the same remainder modulo `num_partitions`.

    Attributes:
        number: The remainder: the number of the part, from 0.
        num_partitions: Number of parts.
        end: Upper bound of the indices, exclusive.
    """

    number: int
    num_partitions: int
    end: int

    def __str__(self) -> str:
        """Return the name of the part, which does not depend on `end`."""
        return f"{self.number} of {self.num_partitions}"

    def indices(self) -> range:
        """Return the indices of the part."""
        return range(self.number, self.end, self.num_partitions)


def fingerprint(
    seeds: Sequence[Seed | PreferencePair],
    models: Models,
    config: SimulationConfig,
    personas: PersonaSource | None,
    graph: Callable[..., Any],
    partition: Partition | None,
) -> dict[str, Any]:
    """Return the settings of a run by name, as JSON values, without the addresses of endpoints."""
    return common_settings(models, config) | {
        "seed_pairs": f"{len(seeds)} pairs, digest {digest_seeds(seeds)}",
        "personas": personas.digest() if personas else "",
        "graph": _describe(graph),
        "share": str(partition or "all"),
    }


def common_settings(models: Models, config: SimulationConfig) -> dict[str, Any]:
    """Return the settings that every kind of run has; `imports` only if there are any."""
    judge_prompt = render_judge(Conversation(), Conversation())
    contrasts = [contrast_frame(part, config.contrast_format) for part in CONTRAST_PROMPTS]
    return config.fixed() | {
        "models": model_names(models),
        "prompts": f"digest {_digest((USER_PROMPT, PERSONA_HEADINGS, contrasts, judge_prompt))}",
        "layout": _LAYOUT,
        **({"imports": digest_code(config.imports)} if config.imports else {}),
    }


def _describe(graph: Callable[..., Any]) -> str:
    """Return the name of a graph factory; one of your own gets a digest of its source file."""
    if graph.__module__.startswith("music_agents."):
        return _STANDARD_GRAPH
    name = f"{graph.__module__}.{graph.__qualname__}"
    source = inspect.getsourcefile(graph)
    return f"{name}, digest {_digest(Path(source).read_text() if source else name)}"


def _digest(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


def free_settings(directory: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that may change, each with the pattern of replies that stay valid, for `Journal.open`.

    Args:
        directory: Of the run, or of one of its partitions.
        settings: Of this session. In a graph of your own, which has a digest, each side may depend on the other.
    """
    if has_rows(directory):
        return {}
    kept = _NO_KEYS if ", digest " in settings.get("graph", "") else _CHOSEN_SIDES
    return dict.fromkeys(FREE_WITHOUT_ROWS, kept)


def has_changed(report: RunReport | None, settings: Mapping[str, Any], free: Mapping[str, str]) -> bool:
    """Whether a setting that may change has changed since the last session."""
    return report is not None and any(report.settings.get(name) != settings[name] for name in free)
