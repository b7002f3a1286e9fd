"""`score_set`: scores a data set of any size into a folder, and resumes a run that was stopped."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from music.errors import InvalidInputError
from music.files import PARTIAL_FILES, locked_folder, require_output_folder
from music.progress import ProgressBar, no_progress
from music.reward.scored_set.manifest import MANIFEST, Manifest, SetSettings, make_plan
from music.reward.scored_set.parts import is_done, part_path, summarise
from music.reward.scored_set.workers import Workers

__all__ = ["SetReport", "score_set"]


@dataclass(frozen=True, slots=True)
class SetReport:
    """The result of scoring a set.

    Attributes:
        model: Description of the model.
        read_at: The token at which it reads rewards.
        summary: Statistics of all rows.
        text: The statistics as readable text.
    """

    model: str
    read_at: str
    summary: dict[str, Any]
    text: str


def score_set(
    source: str,
    out: Path,
    open_workers: Callable[[], AbstractContextManager[Workers]],
    settings: SetSettings,
    *,
    split: str | None = None,
    progress: ProgressBar = no_progress,
    note: Callable[[str], None] = lambda text: None,
) -> SetReport:
    """Score a data set into a folder of parquet files. A run that was stopped or killed is resumed.

    Each row of the input gives one row of the output per pair, or one if it has no pair or is a conversation. The order
    of the rows, by the names of the files, is that of the input.

    Args:
        source: A file, or a folder of files of one kind, of pairs or conversations.
        out: The folder: a new or empty one, or that of an earlier run of the same inputs and model.
        open_workers: Opens the workers. It is called when the inputs have been checked.
        settings: How the set is read, divided and scored.
        split: The split of a folder.
        progress: Shows the progress.
        note: Called with messages for the user.

    Raises:
        InvalidInputError: The source cannot be read, or the folder belongs to another run.
        MusicError: The workers gave up; the parts that are done are kept.
    """
    require_output_folder(out)
    with locked_folder(out):
        earlier = _begin(out)
        plan = make_plan(source, split, settings, out, earlier.plan if earlier else None)
        with open_workers() as workers:
            note(workers.model.description)
            if earlier is not None:
                earlier.require_model(workers.model, out)
            manifest = Manifest(model=workers.model, plan=plan)
            manifest.write(out)
            _score(workers, manifest, out, progress, note)
        summary, text = summarise(out, manifest)
    return SetReport(manifest.model.description, manifest.model.read_at, summary, text)


def _begin(out: Path) -> Manifest | None:
    """Remove what a killed run left incomplete, and return the manifest of an earlier run."""
    earlier = Manifest.read(out)
    if earlier is None and (found := sorted(path.name for path in out.iterdir() if not path.name.startswith("."))):
        raise InvalidInputError(
            f"--out {out}: expected a new or empty folder, or that of a run to resume, with {MANIFEST}; it holds "
            f"{', '.join(found[:3])}"
        )
    for partial in out.glob(PARTIAL_FILES):
        partial.unlink()
    return earlier


def _score(workers: Workers, manifest: Manifest, out: Path, progress: ProgressBar, note: Callable[[str], None]) -> None:
    """Score the parts that are missing."""
    blocks = manifest.plan.blocks
    missing = [number for number in range(len(blocks)) if not is_done(part_path(out, number))]
    if len(missing) < len(blocks):
        note(f"{len(blocks) - len(missing):,} of {len(blocks):,} parts are done")
    if missing:
        with progress("parts", len(missing)) as advance:
            for _ in workers.score(manifest.plan, missing, out):
                advance(1)
