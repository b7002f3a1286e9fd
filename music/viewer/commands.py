"""`report_labels`: what `music view --agreement` and `--export` do, without a server."""

import time
from collections.abc import Sequence
from contextlib import closing

import typer

from music.viewer.agreement import find_agreement
from music.viewer.config import ViewerConfig
from music.viewer.database import index_path, writing
from music.viewer.export import export_labelled
from music.viewer.index import Index
from music.viewer.indexing import IndexWriter
from music.viewer.labels import LABELLED, LabelStore, default_label_path
from music.viewer.rewards import reward_sources
from music.viewer.scoring import score_pairs
from music.viewer.sources import require_sources

__all__ = ["report_labels"]

_POLL_SECONDS = 0.2


def report_labels(sources: Sequence[str], config: ViewerConfig) -> None:
    """Print the agreement of the labels, and export the labelled pairs, as the settings ask for.

    Raises:
        InvalidInputError: A source or the label file cannot be read, or there is nothing to export.
    """
    require_sources(sources)
    store = LabelStore(config.labels or default_label_path())
    models = reward_sources(config.models)
    index = whole_index(sources, store)
    if config.agreement:
        for model in models:
            score_pairs(model, index.path, list(index.present(store.keys(LABELLED))))
        typer.echo(find_agreement(index, store, config.models).text)
    if config.export:
        typer.echo(f"{config.export}: {export_labelled(config.export, index, store).text}")


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
