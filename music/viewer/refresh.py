"""Bringing an index up to date: a first look, all of it at once, or for as long as a viewer runs."""

import os
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from music.errors import InvalidInputError
from music.gc import relaxed
from music.viewer.database import index_path, writing
from music.viewer.index import Index
from music.viewer.indexing import IndexWriter
from music.viewer.labels import LabelStore

__all__ = ["keep_up_to_date", "look_at", "whole_index"]

_POLL_SECONDS = 0.2


def look_at(path: Path, sources: Sequence[str]) -> None:
    """Index the first records of sources, so that the first page has something to show.

    Raises:
        InvalidInputError: There is nothing to show in any of them.
    """
    with closing(IndexWriter(path, sources)) as writer:
        with writing(path, wait=False) as may_write:
            if may_write:
                writer.update(limit=1)
        if may_write and not writer.num_records() and not any(map(_is_run, sources)):
            raise InvalidInputError(
                f"{', '.join(sources)}: expected pairs, conversations or rollouts, found none"
                f"{writer.first_problem()}; `music simulate sandbox --num-pairs 100 --out runs/pairs` makes some"
            )


def whole_index(sources: Sequence[str], store: LabelStore) -> Index:
    """Return the index of sources once it has all their records; a viewer that runs meanwhile keeps it up to date."""
    path = index_path(sources)
    index = Index(path, store)
    with writing(path, wait=False) as may_write:
        if may_write:
            with closing(IndexWriter(path, sources)) as writer:
                writer.update()
    while not index.is_whole():
        time.sleep(_POLL_SECONDS)
    return index


def keep_up_to_date(path: str, *sources: str) -> None:
    """Update an index until standard input closes, as it does when the parent process ends."""

    def end_with_parent() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        with relaxed(), writing(Path(path), wait=True), closing(IndexWriter(Path(path), sources)) as writer:
            writer.keep_updating(threading.Event())
    except (OSError, sqlite3.Error) as error:  # such as a full disk
        sys.exit(f"warning: new conversations no longer appear: {path}: {error}; start the command again")


def _is_run(source: str) -> bool:
    """Whether a folder is or has that of a simulation, whose first pairs may be yet to come."""
    return any(Path(source).expanduser().rglob("journal.sqlite"))
