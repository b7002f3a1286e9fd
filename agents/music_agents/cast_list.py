"""The cast of a run: which endpoint plays a role that was given none, and the list that every run begins with."""

from itertools import groupby

from music.errors import InvalidInputError
from music.llm.endpoints import read_remote, shown
from music.registry import SANDBOX
from music_agents.run import SimulationConfig, SimulationJob

__all__ = ["cast_as_json", "describe_cast", "fill_roles"]

_INDENT = " " * 11


def fill_roles(seeds: str, user: str, assistant: str, contrast: str) -> dict[str, str]:
    """Return the endpoints of the three roles, filled in where none was given.

    Over the sandbox's seeds that is the sandbox. Over anything else it is the assistant's, which must be given: a run
    over real seeds never gets toy replies unless it asks for them.

    Args:
        seeds: What pairs grow from.
        user: As given; empty for not given. Likewise the others.
        assistant: Answers on the chosen side.
        contrast: Answers on the rejected side.

    Raises:
        InvalidInputError: The assistant's endpoint is missing.
    """
    if not assistant and seeds != SANDBOX:
        raise InvalidInputError(
            f"--assistant: expected an endpoint, got none for the seeds {seeds}: give --assistant MODEL@BASE_URL (for "
            "example gemma-2-9b-it@http://127.0.0.1:8000/v1) or local:PATH; --user and --contrast are the same unless "
            "given. --assistant sandbox plays every role with the built-in toy world"
        )
    default = SANDBOX if seeds == SANDBOX else assistant
    return {"user": user or default, "assistant": assistant or default, "contrast": contrast or default}


def describe_cast(job: SimulationJob, seeds: str) -> str:
    """List who plays which role, over which seeds, in lines of about 80 characters.

    Args:
        job: What was asked for.
        seeds: What was read.
    """
    config, roles = job.config, job.endpoints.by_role()
    lines = [("seeds", seeds)]
    for spec, same in groupby(roles, key=roles.__getitem__):
        names = list(same)
        lines += [(name, "as above" if number else _endpoint(spec)) for number, name in enumerate(names)]
    lines.append(("contrasts", _contrasts(config)))
    own = {"personas": job.personas, "graph": job.graph, "imports": ", ".join(job.imports)}
    lines += [(name, value) for name, value in own.items() if value]
    script = ", the users of both sides say the same" if config.shared_script else ""
    turns = f"{config.num_turns} turn{'s' if config.num_turns > 1 else ''} of each side"
    lines.append(("run", f"{config.num_pairs:,} pairs, {turns}, seed {config.seed}{script}"))
    return "\n".join(f"{name:<{len(_INDENT)}}{value}" for name, value in lines)


def cast_as_json(job: SimulationJob, seeds: str) -> dict[str, object]:
    """Return the same as the fields of an event."""
    endpoints = {role: shown(spec) for role, spec in job.endpoints.by_role().items()}
    return {"event": "start", "seeds": seeds, "endpoints": endpoints, "num_wanted": job.config.num_pairs}


def _endpoint(spec: str) -> str:
    """Write an endpoint; replicas stand one below the other."""
    remotes = [read_remote(part.strip()) for part in spec.split(",")]
    if not all(remotes):
        return shown(spec)
    return f",\n{_INDENT}".join(f"{remote[0]} at {shown(remote[1])}" for remote in remotes if remote)


def _contrasts(config: SimulationConfig) -> str:
    """Write the mixture and its schedule."""
    total = sum(config.strategy.values())
    parts = [f"{name} {weight / total:.0%}" for name, weight in config.strategy.items()]
    mixture = next(iter(config.strategy)) if len(parts) == 1 else ", ".join(parts)
    return mixture if config.schedule == "all" else f"{mixture}; turns: {config.schedule}"
