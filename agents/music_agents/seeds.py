"""Seeds: what simulated pairs grow from, and their reading from files.

A seed is the chosen side of a preference pair, a conversation, or a prompt: a conversation that ends with the user.
What both sides of a pair take from it is told in `music_agents.seed_contexts`.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from music.conversation import Conversation, Message
from music.errors import InvalidInputError
from music.pairs import PreferencePair
from music.preferences.formats import Format, detect_format, row_id
from music.preferences.messages import TRANSCRIPT_START, read_messages, read_side, read_text, read_transcript
from music.preferences.problems import RowError, RowProblem
from music.preferences.reader import read_preferences
from music.preferences.sources import Row, iter_rows

__all__ = ["SANDBOX", "Seed", "SeedSet", "digest_seeds", "read_seeds"]

SANDBOX = "sandbox"
"""In place of a file: seeds of the sandbox's world."""
NUM_SANDBOX_SEEDS = 1000

_PROMPT_FIELDS = ("prompt", "messages", "conversations")
_DETECTION_ROWS = 50
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant"}
"""Names that speakers have in other people's files."""


@dataclass(frozen=True, slots=True)
class Seed:
    """What pairs grow from.

    Attributes:
        id: Of the preference pair or row.
        conversation: The chosen side, the conversation or the prompt; it holds a message of the user's at least.
        source: Where it is from.
    """

    id: str
    conversation: Conversation
    source: str = ""

    def __post_init__(self) -> None:
        """Check that there is something to go on from."""
        if not self.conversation.messages or self.conversation.messages[-1].role == "system":
            raise InvalidInputError(f"seed {self.id!r}: expected at least one message by the user, got none")

    @classmethod
    def of(cls, seed: "Seed | PreferencePair") -> "Seed":
        """Return a seed; of a preference pair that is its chosen side."""
        return seed if isinstance(seed, Seed) else cls(seed.id, seed.chosen, seed.source)


@dataclass(frozen=True, slots=True)
class SeedSet:
    """The seeds of a source.

    Attributes:
        seeds: In order.
        summary: What was read, and what was left out and why, in a line.
    """

    seeds: tuple[Seed, ...]
    summary: str

    @classmethod
    def of_pairs(cls, pairs: Sequence[PreferencePair], summary: str) -> Self:
        """Return the seeds of preference pairs."""
        return cls(tuple(map(Seed.of, pairs)), summary)


def read_seeds(source: str, format: str | None = None, strict: bool = False) -> SeedSet:
    """Read the seeds of a file, folder or hub id, or draw the sandbox's.

    Rows are preference pairs of any format that `music.preferences` knows; or prompts and conversations, in a field
    `prompt` (text, or messages), `messages` or `conversations`.

    Args:
        source: The file, folder or hub id; or `sandbox`.
        format: Format of preference pairs; None to detect it.
        strict: Whether the first row that cannot be used is an error.

    Raises:
        InvalidInputError: The source cannot be read, or not one of its rows can be used.
    """
    if source == SANDBOX:
        from music.sandbox.seeds import seed_pairs

        return SeedSet.of_pairs(seed_pairs(NUM_SANDBOX_SEEDS, 0), f"{NUM_SANDBOX_SEEDS:,} pairs of the sandbox")
    if format is not None and format not in set(Format):
        raise InvalidInputError(f"--format: expected one of {', '.join(Format)}; got {format!r}")
    if format is None and _holds_prompts(source):
        found = _read_prompts(source, strict)
    else:
        pairs = read_preferences(source, format=Format(format) if format else None, strict=strict)
        found = SeedSet.of_pairs(pairs.pairs, pairs.summary())
    if not found.seeds:
        raise InvalidInputError(f"expected at least one usable preference pair or prompt, got none: {found.summary}")
    return found


def digest_seeds(seeds: Sequence[Seed | PreferencePair]) -> str:
    """Return a fingerprint of what a run takes from its seeds, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for seed in map(Seed.of, seeds):
        digest.update(repr((seed.id, seed.source)).encode())
        for message in seed.conversation.messages:
            digest.update(f"\0{message.role}\0{message.content}".encode())
    return digest.hexdigest()


def _holds_prompts(source: str) -> bool:
    """Whether the first rows are prompts or conversations, and no preference pairs."""
    head = list(islice(iter_rows(source, "train"), _DETECTION_ROWS))
    rows = [row.content for row in head if isinstance(row.content, dict)]
    return detect_format(head) is None and any(row.get(name) for row in rows for name in _PROMPT_FIELDS)


def _read_prompts(source: str, strict: bool) -> SeedSet:
    """Read prompts and conversations; rows that are neither are counted, or refused if `strict`."""
    seeds: list[Seed] = []
    problems: Counter[RowProblem] = Counter()
    first: dict[RowProblem, str] = {}
    for row in iter_rows(source, "train"):
        try:
            seeds.append(_read_prompt(row))
        except RowError as error:
            if strict:
                raise InvalidInputError(
                    f"{source}, {row.unit} {row.number}, {error} ({error.problem}); fix the row, or read without "
                    "--strict to have such rows counted and left out"
                ) from error
            problems[error.problem] += 1
            first.setdefault(error.problem, f"first in {row.unit} {row.number}: {error}")
    num_prompts = sum(seed.conversation.messages[-1].role == "user" for seed in seeds)
    kinds = {"prompt": num_prompts, "conversation": len(seeds) - num_prompts}
    counted = [f"{num:,} {kind if num == 1 else kind + 's'}" for kind, num in kinds.items() if num]
    summary = f"{' and '.join(counted) or 'nothing'} from {Path(source).name}"
    if problems:
        reasons = ", ".join(f"{problem} {num} ({first[problem]})" for problem, num in problems.most_common())
        summary += f"; {problems.total()} of {problems.total() + len(seeds)} rows dropped: {reasons}"
    return SeedSet(tuple(seeds), summary)


def _read_prompt(row: Row) -> Seed:
    """Read one row.

    Raises:
        RowError: It is no prompt and no conversation.
    """
    fields = row.content
    if isinstance(fields, RowError):
        raise fields
    if not isinstance(fields, dict):
        raise RowError(RowProblem.WRONG_TYPE, row.unit, expected="an object with fields", got=type(fields).__name__)
    name = next((name for name in _PROMPT_FIELDS if fields.get(name) is not None), "prompt")
    messages = _messages(fields, name)
    ends_with_user = bool(messages) and messages[-1].role == "user"
    # A side of a pair ends with a reply; with one added, a prompt passes the same checks.
    whole = read_side((*messages, Message(role="assistant", content="-")) if ends_with_user else messages, name)
    source = fields.get("source")
    return Seed(row_id(row, fields), whole.prefix(len(messages)), source if isinstance(source, str) else row.stem)


def _messages(fields: Mapping[str, Any], name: str) -> tuple[Message, ...]:
    """Return the messages of a field: text is the user's, or a transcript that may end with `Assistant:`."""
    value = fields.get(name)
    if isinstance(value, list):
        return read_messages({name: [_renamed(item) for item in value]}, name)
    text = read_text(fields, name)
    if TRANSCRIPT_START.match(text):
        return read_transcript({name: text.rstrip().removesuffix("Assistant:")}, name)
    return (Message(role="user", content=text),)


def _renamed(item: Any) -> Any:
    """Return a message with `role` and `content`, also one with ShareGPT's `from` and `value`."""
    if not isinstance(item, dict):
        return item
    role, content = (item.get(key, item.get(other)) for key, other in (("role", "from"), ("content", "value")))
    known = _ROLES.get(role.lower(), role.lower()) if isinstance(role, str) else role
    return {"role": known, "content": content}
