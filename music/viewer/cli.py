"""`music view`: shows conversations in the browser."""

from typing import Annotated

import typer

from music.cli import with_flags
from music.gc import relaxed
from music.viewer.config import Selection, ViewerConfig

__all__ = ["view"]


@with_flags
def view(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR|FILE...", help="Pairs, conversations, rollouts or failures: files, or folders of runs."
        ),
    ],
    config: ViewerConfig,
) -> None:
    """Show pairs, rollouts and failures in the browser: side by side, with search and filters.

    The first line of output is the address of the page. Say there which side of a pair is better: --agreement then
    compares your labels with the data, and --export writes the pairs by your labels. --static writes a selection to
    one HTML file, to send to a colleague.

    Example: music view runs/pairs --open
    """
    if config.static or config.selection != Selection():
        from music.viewer.selection import write_selection

        write_selection(sources, config)
    elif config.agreement or config.export:
        from music.viewer.commands import report_labels

        report_labels(sources, config)
    else:
        with relaxed():  # the first page waits for many imports, whose objects stay
            from music.viewer.server import view

            view(sources, config)
