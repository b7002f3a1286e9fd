"""`music push`: uploads a model or a set of pairs to the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer

from music.cli import AsJson, emit

__all__ = ["push"]


def push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a model (music train), or of pairs.")],
    repo_id: Annotated[str, typer.Argument(metavar="REPO_ID", help="OWNER/NAME; created if there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Create the repository as a private one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files, and send nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Upload a model or a set of pairs to the Hugging Face hub, with its card.

    Weights in safetensors, tokenizer, contract, pairs and card are uploaded. Checkpoints, features, journals and logs
    are not. The token is that of HF_TOKEN or of `hf auth login`.

    Example: music push runs/rm me/my-reward-model --private
    """
    from music.hub.upload import plan_upload, upload

    plan = plan_upload(folder)
    url = None if dry_run else upload(plan, repo_id, private=private)
    result = {"repo_id": repo_id, "kind": plan.kind, "files": plan.files, "num_bytes": plan.num_bytes, "url": url}
    sizes = [(name, (folder / name).stat().st_size) for name in plan.files]
    lines = [f"{size:>15,} bytes  {name}" for name, size in sizes]
    last = f"uploaded to {url}" if url else f"nothing was sent; these files would go to {plan.kind} {repo_id}"
    emit(result, as_json, "\n".join([*lines, last]))
