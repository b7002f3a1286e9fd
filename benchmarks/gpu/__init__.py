"""The reward model's engine at Gemma-2-9B's shape on one CUDA card, with random weights.

A CUDA machine needs only torch, transformers and this repository on the path. The packages' `__init__` modules import
more (pydantic, lazy_loader), which the engine does not need; if these are missing, the `__init__` modules are skipped.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).parents[2]
_PACKAGES = {
    "music": "music",
    "music.reward": "music/reward",
    "music_trainers": "trainers/music_trainers",
    "music_trainers.precision": "trainers/music_trainers/precision",
}


def _open_without_faces() -> None:
    for name, folder in _PACKAGES.items():
        package = ModuleType(name)
        package.__path__ = [str(_ROOT / folder)]
        sys.modules.setdefault(name, package)


if find_spec("pydantic") is None or find_spec("lazy_loader") is None or find_spec("music_trainers") is None:
    _open_without_faces()
