"""`write_card`: the card of a model or a data set, `README.md` in its folder."""

import re
from pathlib import Path
from typing import Any

from music.files import replace_file

__all__ = ["CARD_FILE", "base_model", "plain_name", "write_card"]

CARD_FILE = "README.md"
MARK = "<!-- Written by music-rm, which writes it again. Delete this line to keep edits of your own. -->"


def write_card(folder: Path, metadata: dict[str, Any], text: str) -> bool:
    """Write the card of a folder, unless its user has written one.

    Args:
        folder: Of a model or of pairs.
        metadata: What the hub reads, without a license, which only the owner can choose. None is left out.
        text: The card in Markdown.

    Returns:
        Whether it was written.

    Raises:
        MusicError: It could not be written.
    """
    from huggingface_hub import CardData

    path = folder / CARD_FILE
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return False
    data = CardData(**metadata).to_yaml()
    replace_file(path, f"---\n{data}\n---\n\n{MARK}\n\n{text.strip()}\n\n{_LICENSE}")
    return True


_LICENSE = """## License

Not stated. It depends on the licenses of the models and the data that this was made from. Add `license: NAME`
between the two lines `---` above.
"""


def base_model(name: str) -> str | None:
    """Return the hub id of a base model; None for a folder, or for the sandbox's model."""
    is_hub_id = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) and not Path(name).exists()
    return name if is_hub_id else None


def plain_name(endpoint: str) -> str:
    """Return the model of an endpoint, without the address of its server or its folder."""
    model = endpoint.partition("@")[0]
    scheme, colon, path = model.partition(":")
    return f"{scheme}:{Path(path.partition('?')[0]).name}" if colon and scheme == "local" else model
