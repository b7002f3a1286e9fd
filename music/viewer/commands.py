"""`report_labels`: what `music view --agreement` and `--export` do, without a server."""

from collections.abc import Sequence

import typer

from music.viewer.agreement import find_agreement
from music.viewer.config import ViewerConfig
from music.viewer.export import export_labelled
from music.viewer.labels import LABELLED, LabelStore, default_label_path
from music.viewer.refresh import whole_index
from music.viewer.reward_sources import reward_sources
from music.viewer.scoring import score_pairs
from music.viewer.sources import require_sources

__all__ = ["report_labels"]


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
