"""`music serve`: serves a reward model over HTTP, or compares a running server with it."""

from typing import Annotated

import typer

from music.cli import AsJson, Reading, console, emit, with_flags
from music.names import find_model
from music.serving.config import ServingConfig
from music.serving.replicas.config import ReplicaConfig

__all__ = ["serve"]


@with_flags
def serve(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder or hub id of a reward model.")],
    config: ServingConfig,
    cluster: ReplicaConfig,
    check: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="URL FILE",
            help="Instead of serving, compare the scores of a running server (this one, vLLM, SGLang) with MODEL's; "
            "give --deterministic if the server has it.",
        ),
    ] = None,
    as_json: AsJson = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Serve a reward model to RL stacks and other clients; the first line of output is the base URL.

    Example: music serve runs/rm --port 8300
    """
    find_model(model)
    if check is None and cluster.ray:
        from music.serving.replicas.run import serve_replicas

        serve_replicas(model, config, cluster, with_parent=with_parent)
    elif check is None:
        from music.serving.server import serve

        serve(model, config, with_parent=with_parent)
    else:
        _check(model, *check, config=config, as_json=as_json)


def _check(model: str, url: str, file: str, *, config: ServingConfig, as_json: bool) -> None:
    """Compare a running server with a model."""
    from music.preferences import is_conversation_file, read_conversations
    from music.reward.remote import RemoteReward
    from music.serving.parity import check_parity
    from music.serving.served_model import load_served

    local = load_served(model, config).model
    console.print(local.description, highlight=False, markup=False, soft_wrap=True)
    are_pairs = not is_conversation_file(file)
    if are_pairs:
        conversations = [side for pair in Reading().read(file).pairs for side in (pair.chosen, pair.rejected)]
    else:
        conversations = list(read_conversations(file))
    parity = check_parity(local, RemoteReward(model, url), conversations, are_pairs=are_pairs)
    emit(parity.summary(), as_json, parity.text())
