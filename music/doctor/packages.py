"""Installed versions: of this package, of what it requires, and of what its extras require."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from music.doctor.check import Check, State

__all__ = ["PURPOSES", "check_extras", "check_packages"]

DISTRIBUTION = "music-rm"
SHOWN = ("torch", "transformers", "accelerate", "datasets", "langgraph", "gymnasium")
"""Requirements whose versions are shown; the others are shown only if something is wrong."""
PURPOSES = {
    "openenv": "an OpenEnv server of the chat environment",
    "peft": "LoRA (music train --lora-rank), adapters as models",
    "qlora": "LoRA over 4 bits (music train --load-in-4bit)",
    "ray": "clusters (--ray)",
    "torchrl": "the chat environment in TorchRL",
    "trl": "music rl",
    "verifiers": "the chat environment in verifiers",
}
"""What each extra is for; `dev` is for contributors."""


def check_packages() -> Iterator[Check]:
    """Yield the versions of Python, this package and its requirements."""
    yield Check(area="versions", name="Python", text=platform.python_version())
    yield Check(area="versions", name=DISTRIBUTION, text=version(DISTRIBUTION))
    for requirement in _requirements(""):
        fault = _fault(requirement)
        if fault or requirement.name in SHOWN:
            yield Check(
                area="versions",
                name=requirement.name,
                state=State.PROBLEM if fault else State.OK,
                text=fault or version(requirement.name),
                fix=f"pip install '{_named(requirement)}'" if fault else "",
            )


def check_extras() -> Iterator[Check]:
    """Yield each extra, and the command that installs it if something of it is missing."""
    for extra, purpose in PURPOSES.items():
        faults = [f"{each.name}: {fault}" for each in _requirements(extra) if (fault := _fault(each))]
        yield Check(
            area="extras",
            name=extra,
            state=State.OPTIONAL if faults else State.OK,
            text=f"{purpose}; {', '.join(faults) or 'installed'}",
            fix=f"pip install '{DISTRIBUTION}[{extra}]'" if faults else "",
        )


def _requirements(extra: str) -> list[Requirement]:
    """Return what an extra requires in addition, or without an extra what the package itself does."""
    found = [Requirement(text) for text in requires(DISTRIBUTION) or ()]
    return [
        each
        for each in found
        if ("extra" in str(each.marker or "")) == bool(extra)
        and (not each.marker or each.marker.evaluate({"extra": extra}))
    ]


def _fault(requirement: Requirement) -> str:
    """Return why a requirement is not met; empty if it is."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return "not installed"
    is_met = requirement.specifier.contains(found, prereleases=True)
    return "" if is_met else f"{found} is installed, expected {requirement.specifier}"


def _named(requirement: Requirement) -> str:
    """Return a requirement as pip takes it, without its marker."""
    return str(requirement).partition(";")[0].strip()
