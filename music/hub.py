"""Names of models that may be a folder or an id on the Hugging Face hub: what they are, before the network is asked.

A slip in a local path must not wait for the hub, which takes half a minute where there is no network.
"""

import logging
import re
from pathlib import Path

from music.errors import InvalidInputError
from music.suggestions import nearest_path

__all__ = ["announce_lookup", "require_model_path"]

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_LOG = logging.getLogger(__name__)


def require_model_path(path_or_hub_id: str | Path, name: str | None = None) -> None:
    """Check that a model's folder is there, or that its name may be an id on the hub; a look-up there is announced.

    Call it before what loads the model.

    Args:
        path_or_hub_id: As the user wrote it.
        name: What errors call it; by default what the user wrote.

    Raises:
        InvalidInputError: It is written as a local path, and nothing is there.
    """
    written = str(path_or_hub_id)
    if Path(written).exists():
        return
    if not isinstance(path_or_hub_id, str) or _looks_local(written):
        raise InvalidInputError(
            f"{name or written}: expected the folder of a model, found nothing there{nearest_path(written)}"
        )
    announce_lookup("model", written)


def announce_lookup(kind: str, hub_id: str) -> None:
    """Report, through `logging`, that the hub is asked, as that may take long."""
    _LOG.warning(
        "%s: not found on this machine as a file or folder, asking the Hugging Face hub for a %s", hub_id, kind
    )


def _looks_local(name: str) -> bool:
    """Whether a name that is not there is a slip in a path: no hub id, or in a folder that is there."""
    return _HUB_ID.fullmatch(name) is None or ("/" in name and Path(name).parent.is_dir())
