"""Names that users type: suggestions for typos, and whether a model's name is a folder or a hub id.

A typo in a path must not cause a request to the hub, which may take half a minute to fail.
"""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Literal
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from music.errors import InvalidInputError
from music.registry import SANDBOX, load_built_in

__all__ = ["ModelKind", "did_you_mean", "find_model", "nearest_path"]

logger = logging.getLogger(__name__)

ModelKind = Literal["language_model", "reward_model"]

HUB_SECONDS = 10.0
_MODEL_FILES = ("config.json", "adapter_config.json")
"""Every model's folder contains one of them: a PEFT adapter has no `config.json`."""
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return `; did you mean 'NEAREST'?`, or an empty string if no known name is similar."""
    nearest = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def nearest_path(path: str | Path, is_wanted: Callable[[Path], bool] = Path.exists) -> str:
    """Return `; did you mean 'PATH'?` for a path that does not exist; an empty string if no path is similar.

    Names are compared, not whole paths, which are similar if their folders are the same. The typo may be in the last
    name or in the name of its folder.

    Args:
        path: The path that does not exist.
        is_wanted: Whether an existing path may be suggested.
    """
    path = Path(path).expanduser()
    beside = {each.name: each for each in _within(path.parent) if is_wanted(each)}
    like_folder = {
        each.parent.name: each for folder in _within(path.parent.parent) if is_wanted(each := folder / path.name)
    }
    for name, known in ((path.name, beside), (path.parent.name, like_folder)):
        stems = get_close_matches(_stem(name), {_stem(other) for other in known})
        if found := get_close_matches(name, [other for other in known if _stem(other) in stems], n=1, cutoff=0.0):
            return f"; did you mean {str(known[found[0]])!r}?"
    return ""


def _stem(name: str) -> str:
    """Return a name without its suffixes, which make names of files of one kind similar."""
    return name.lstrip(".").partition(".")[0]


def _within(folder: Path) -> list[Path]:
    """Return the sorted content of a folder; empty if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def find_model(name: str, kind: ModelKind = "reward_model", words: Iterable[str] = ()) -> str:
    """Return the folder or hub id of a model that a user named; ask the hub for an id that is not cached.

    Args:
        name: A folder, or a hub id `NAME` or `OWNER/NAME`. With a slash it is a path if its parent folder exists.
            `sandbox` is the sandbox's own model of this kind; a folder of that name is `./sandbox`.
        kind: Which of the sandbox's models `sandbox` is.
        words: Other names that are valid in this place, such as `oracle`; a typo in one is not a hub id.

    Raises:
        InvalidInputError: There is no such folder, it is a file, or the name cannot be a hub id.
    """
    if name == SANDBOX:
        return str(load_built_in(kind, SANDBOX))
    path = Path(name).expanduser()
    if not any((path / file).is_file() for file in _MODEL_FILES):
        _require_model(name, path, (*words, SANDBOX))
    return name


def _require_model(name: str, path: Path, words: Sequence[str]) -> None:
    """Refuse a name that is neither a word of `words`, a model's folder nor a hub id."""
    if path.is_dir():
        within = sorted({str(each.parent) for file in _MODEL_FILES for each in path.glob(f"*/{file}")})
        hint = f"; did you mean {within[0]!r}?" if within else ""
        raise InvalidInputError(f"{name}: expected the folder of a model, but it holds no config.json{hint}")
    if path.exists():
        raise InvalidInputError(f"{name}: expected the folder of a model, or a hub id; it is a file")
    if hint := did_you_mean(name, words, cutoff=0.75):
        raise InvalidInputError(f"{name}: expected {', '.join(words)}, the folder of a model, or a hub id{hint}")
    is_id = _HUB_ID.fullmatch(name) is not None
    if not is_id or ("/" in name and path.parent.is_dir() and not _is_cached(name)):
        near = nearest_path(path, Path.is_dir)
        raise InvalidInputError(f"{name}: there is no such folder; expected the folder of a model, or a hub id{near}")
    if not _is_cached(name):
        _require_on_hub(name, nearest_path(path, Path.is_dir))


def _is_cached(hub_id: str) -> bool:
    """Whether the hub's cache on this machine contains a model."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(hub_id, file), str) for file in _MODEL_FILES)


def _require_on_hub(hub_id: str, near: str) -> None:
    """Ask the hub whether it has a model; without a network, its own client would try for half a minute."""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise InvalidInputError(f"{hub_id}: there is no such folder, nor is it cached, and HF_HUB_OFFLINE is set{near}")
    logger.info("%s: there is no such folder, looking for it on the Hugging Face hub", hub_id)
    try:
        _ask_hub(f"{constants.ENDPOINT}/{hub_id}/resolve/main", get_token())
    except HTTPError as error:
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            raise InvalidInputError(
                f"{hub_id}: there is no such folder here and no such model on the hub, or none that you may read "
                f"({error.code}; `hf auth login` signs you in){near}"
            ) from None
    except (OSError, HTTPException) as error:
        why = getattr(error, "reason", error)
        raise InvalidInputError(
            f"{hub_id}: there is no such folder, and the Hugging Face hub cannot be reached ({why}){near}"
        ) from None


def _ask_hub(address: str, token: str | None) -> None:
    """Ask for the files of a model's folder until one is found; the error of the last one is raised."""
    for file in _MODEL_FILES:
        request = Request(f"{address}/{file}", method="HEAD")
        if token:
            request.add_unredirected_header("Authorization", f"Bearer {token}")
        try:
            urlopen(request, timeout=HUB_SECONDS).close()
            return
        except HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND or file == _MODEL_FILES[-1]:
                raise
