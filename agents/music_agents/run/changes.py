"""What may change of a run that holds no pair yet: settings that no chosen side depends on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from music_agents.output.shard_folder import has_rows
from music_agents.run.config import FREE_WITHOUT_ROWS
from music_agents.run.report import RunReport

__all__ = ["free_settings", "has_changed"]

_CHOSEN_SIDES = "%/chosen/%"
_NO_KEYS = ""


def free_settings(directory: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that may change, each with the keys of the replies that stay good, for `Journal.open`.

    Args:
        directory: Of the run, or of one of its shares.
        settings: Of this session. In a graph of the user's own, which has a digest, either side may follow the other.
    """
    if has_rows(directory):
        return {}
    kept = _NO_KEYS if ", digest " in settings.get("graph", "") else _CHOSEN_SIDES
    return dict.fromkeys(FREE_WITHOUT_ROWS, kept)


def has_changed(report: RunReport | None, settings: Mapping[str, Any], free: Mapping[str, str]) -> bool:
    """Whether a setting that may change is another than in the session before."""
    return report is not None and any(report.settings.get(name) != settings[name] for name in free)
