"""`music serve`: serves a reward model over HTTP."""

from typing import Annotated

import typer

from music.cli import with_flags
from music.names import require_model
from music.serving.config import ServingConfig

__all__ = ["serve"]


@with_flags
def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub id of a reward model.")],
    config: ServingConfig,
) -> None:
    """Serve a reward model to RL stacks and other clients; the first line of output is the base URL.

    Example: music serve runs/rm --port 8300
    """
    require_model(model)
    from music.serving.server import serve

    serve(model, config)
