"""`Manifest`: what a run scores, and by which model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError

from music.config import Config
from music.errors import InvalidInputError
from music.files import replace_file
from music.preferences.blocks import Block, file_blocks
from music.preferences.conversations import is_conversation_file
from music.preferences.row_messages import Consecutive
from music.preferences.rows import detect_format
from music.preferences.shapes import Format
from music.preferences.sources import source_files

__all__ = ["MANIFEST", "InputFile", "Manifest", "ModelIdentity", "Plan", "SetSettings", "make_plan"]

MANIFEST = "manifest.json"
_MAX_PARTS = 100_000
"""The files are numbered with five digits, so that the order of their names is that of the rows."""


class SetSettings(Config):
    """How a data set is read, divided and scored."""

    per_turn: bool = False
    """Whether every assistant turn is scored, too."""
    part_rows: int = Field(default=10_000, ge=1)
    """Most rows of a part."""
    format: Format | None = None
    """Format of all rows; by default it is detected for each row."""
    consecutive: Consecutive = Consecutive.REFUSE
    """What to do with two consecutive messages by one speaker."""
    strict: bool = False
    """Whether a row that cannot be used ends the run. Otherwise it is in the output, with the problem."""


class ModelIdentity(Config):
    """A reward model as a manifest records it."""

    name: str
    description: str
    fingerprint: str
    readout: str
    read_at: str


class InputFile(Config):
    """A file that is scored."""

    path: Path
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return the present state of a file."""
        state = path.stat()
        return cls(path=path.resolve(), size=state.st_size, mtime_ns=state.st_mtime_ns)


class Plan(Config):
    """What a run scores.

    Blocks and inputs are in the order of the rows. Part k of the output has the rows of block k.
    """

    settings: SetSettings
    is_pairs: bool
    format: Format
    """The format by which a row of no known shape is read, so that its problem names what is missing."""
    inputs: tuple[InputFile, ...]
    blocks: tuple[Block, ...]


class Manifest(Config):
    """What a run scores, and by which model."""

    version: Literal[1] = 1
    model: ModelIdentity
    plan: Plan

    @classmethod
    def read(cls, out: Path) -> Self | None:
        """Read the manifest of a folder; None if it has none.

        Raises:
            InvalidInputError: It is not one of this version.
        """
        path = out / MANIFEST
        if not path.exists():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            fault = error.errors()[0]
            raise InvalidInputError(
                f"{path}: expected the manifest of a scored set: {'.'.join(map(str, fault['loc']))}: {fault['msg']}; "
                "choose another --out"
            ) from error

    def write(self, out: Path) -> None:
        """Write the manifest to a folder."""
        replace_file(out / MANIFEST, self.model_dump_json(indent=1) + "\n")

    def require_model(self, model: ModelIdentity, out: Path) -> None:
        """Refuse another model than that of the manifest.

        Raises:
            InvalidInputError: It has another fingerprint.
        """
        ours, theirs = model.fingerprint, self.model.fingerprint
        if ours != theirs:
            raise InvalidInputError(
                f"--out {out}: it holds scores of another model: {self.model.name} ({theirs[:12]}, "
                f"{self.model.description}), not {model.name} ({ours[:12]}, {model.description}); choose another folder"
            )


def make_plan(source: str, split: str | None, settings: SetSettings, out: Path, earlier: Plan | None) -> Plan:
    """Divide a source into parts; an earlier plan of the same run is resumed.

    Raises:
        InvalidInputError: The source cannot be read, or the earlier plan has other settings or inputs.
    """
    inputs = tuple(InputFile.of(path) for path in source_files(source, split))
    if earlier is not None:
        _require_same_settings(settings, earlier.settings, out)
        _require_same_inputs(inputs, earlier.inputs, out)
        return earlier.model_copy(update={"settings": settings})
    is_pairs = not is_conversation_file(source, split=split)
    found = detect_format(source, split=split, with_conversations=not is_pairs)
    return Plan(
        settings=settings,
        is_pairs=is_pairs,
        format=(settings.format if is_pairs else None) or found,
        inputs=inputs,
        blocks=_divide(source, [each.path for each in inputs], settings.part_rows),
    )


def _divide(source: str, paths: Sequence[Path], part_rows: int) -> tuple[Block, ...]:
    blocks = tuple(block for path in paths for block in file_blocks(path, part_rows))
    if len(blocks) > _MAX_PARTS:
        raise InvalidInputError(
            f"{source}: expected at most {_MAX_PARTS:,} parts, got {len(blocks):,}; raise --part-rows ({part_rows:,})"
        )
    return blocks


def _require_same_settings(ours: SetSettings, theirs: SetSettings, out: Path) -> None:
    for name in ("per_turn", "part_rows", "format", "consecutive"):  # what the files depend on
        mine, began = getattr(ours, name), getattr(theirs, name)
        if mine != began:
            raise InvalidInputError(
                f"--out {out}: its run was begun with --{name.replace('_', '-')} {began}, got {mine}; give the same "
                "value to resume it, or choose another folder"
            )


def _require_same_inputs(ours: Sequence[InputFile], theirs: Sequence[InputFile], out: Path) -> None:
    remedy = "restore the inputs to resume it, or choose another folder"
    present, began = ({each.path: each for each in files} for files in (ours, theirs))
    for path in began.keys() - present.keys():
        raise InvalidInputError(f"--out {out}: its run scores {path}, which is not among the inputs now; {remedy}")
    for path in present.keys() - began.keys():
        raise InvalidInputError(f"--out {out}: its run does not score {path}, which is among the inputs now; {remedy}")
    for path, file in present.items():
        if file != began[path]:
            raise InvalidInputError(
                f"--out {out}: {path} changed since its run was begun: {began[path].size:,} bytes then, "
                f"{file.size:,} bytes now, or another time of change; {remedy}"
            )
