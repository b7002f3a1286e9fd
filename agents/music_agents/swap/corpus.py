"""The conversations of a run: those with a scheduled turn, and those that are held out."""

from collections.abc import Sequence

from music.errors import InvalidInputError
from music.preferences.split import held_out_indices, opening_key
from music_agents.contrasts import Schedule
from music_agents.defects.swaps import Transcript

__all__ = ["hold_out", "select"]


def select(transcripts: Sequence[Transcript], schedule: Schedule, source: str) -> tuple[list[Transcript], str]:
    """Return the conversations that have a scheduled turn, and a description of those left out.

    Raises:
        InvalidInputError: Fewer than 2 conversations that begin differently have one.
    """
    kept, short = list[Transcript](), list[Transcript]()
    for one in transcripts:
        (kept if schedule.turns_of(one.conversation.num_turns, 0, 0) else short).append(one)
    if not kept and short:
        longest = max(short, key=lambda one: one.conversation.num_turns)
        raise InvalidInputError(
            f"{source}: expected conversations of at least {min(schedule.turns)} turns for the schedule {schedule}, "
            f"got none: the longest ({longest.id}) has {longest.conversation.num_turns}; name another --schedule"
        )
    _check_openings(kept, source)
    left_out = (
        f"{len(short):,} conversations left out, as the schedule {schedule} covers none of their turns (the first: "
    )
    return kept, f"{left_out}{short[0].id})" if short else ""


def hold_out(
    transcripts: Sequence[Transcript], fraction: float, seed: int, source: str
) -> tuple[list[Transcript], list[Transcript]]:
    """Divide conversations into those to train on and those held out; equal first user messages stay together.

    Raises:
        InvalidInputError: A part has fewer than 2 conversations that begin differently.
    """
    held_out = held_out_indices([opening_key(one.conversation) for one in transcripts], fraction, seed)
    parts: tuple[list[Transcript], list[Transcript]] = ([], [])
    for index, one in enumerate(transcripts):
        parts[index in held_out].append(one)
    for part, name in zip(parts, ("to train on", "held out (--eval-fraction)"), strict=True):
        _check_openings(part, f"{source}, conversations {name}")
    return parts


def _check_openings(transcripts: Sequence[Transcript], source: str) -> None:
    if len({opening_key(one.conversation) for one in transcripts}) < 2:
        raise InvalidInputError(
            f"{source}: expected at least 2 conversations that begin with different messages, as they exchange their "
            f"replies; got {len(transcripts)}" + (f", the first: {transcripts[0].id}" if transcripts else "")
        )
