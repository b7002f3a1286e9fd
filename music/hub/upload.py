"""Uploads of a model or of pairs: the files that others need, and nothing else from the folder of a run."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from music.errors import InvalidInputError, MusicError

__all__ = ["Upload", "plan_upload", "upload"]

MODEL_FILES = (
    *("README.md", "LICENSE*", "config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json"),
    *("adapter_config.json", "tokenizer*.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "*.jinja", "score_contract.json", "training.json"),
)
"""Names of the files of a model; weights in safetensors only."""
PAIR_FILES = ("README.md", "LICENSE*", "*.parquet")
"""Names of the files of a set of pairs."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The files of a folder that are uploaded.

    Attributes:
        folder: The folder.
        kind: What it holds, and the type of the repository.
        files: Names of the files in it.
    """

    folder: Path
    kind: Literal["model", "dataset"]
    files: tuple[str, ...]

    @property
    def num_bytes(self) -> int:
        """Size of all files."""
        return sum((self.folder / name).stat().st_size for name in self.files)


def plan_upload(folder: Path) -> Upload:
    """Choose the files of a model's folder or of a set of pairs.

    Checkpoints, features, journals, caches and all other folders and files are left out.

    Raises:
        InvalidInputError: It is no folder, or neither a model in safetensors nor a set of pairs.
    """
    if not folder.is_dir():
        raise InvalidInputError(f"{folder}: expected the folder of a model or of pairs; there is no such folder")
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    weights = [name for name in names if name.endswith(".safetensors")]
    if weights and {"config.json", "adapter_config.json"} & {*names}:
        return Upload(folder, "model", _matching(names, MODEL_FILES))
    if any(name.endswith(".parquet") for name in names):
        return Upload(folder, "dataset", _matching(names, PAIR_FILES))
    within = sorted(path.parent.name for path in folder.glob("*/config.json"))
    hint = f"; did you mean {folder / within[0]}?" if within else ""
    raise InvalidInputError(
        f"{folder}: expected config.json with weights in safetensors, or pairs in parquet files, and found neither"
        + hint
    )


def upload(plan: Upload, repo_id: str, *, private: bool = False) -> str:
    """Upload files to a repository, which is created if there is none, in one commit.

    The token is that of `HF_TOKEN` or of `hf auth login`.

    Args:
        plan: What is uploaded.
        repo_id: `OWNER/NAME`, or `NAME` for a repository of your own.
        private: Whether a new repository is private.

    Returns:
        The address of the repository.

    Raises:
        InvalidInputError: There is no token, the name is not that of a repository, or the hub refuses it; or the
            repository exists and is public, with `private`.
        MusicError: The hub cannot be reached, or fails.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if not get_token():
        raise InvalidInputError("expected a token of the Hugging Face hub, run `hf auth login`, or set HF_TOKEN")
    api = HfApi()
    try:
        made = api.create_repo(repo_id, repo_type=plan.kind, private=private or None, exist_ok=True)
        if private and not api.repo_info(made.repo_id, repo_type=plan.kind).private:
            raise InvalidInputError(f"{made}: it exists and is public; choose another name, or leave --private out")
        api.upload_folder(
            repo_id=made.repo_id,
            repo_type=plan.kind,
            folder_path=plan.folder,
            allow_patterns=list(plan.files),
            commit_message=f"Upload {plan.kind} with music-rm",
        )
    except HFValidationError as error:
        raise InvalidInputError(f"{repo_id}: expected OWNER/NAME, or NAME: {error}") from error
    except HfHubHTTPError as error:
        raise _refused(repo_id, error.response.status_code, error) from error
    except OSError as error:
        raise MusicError(f"{repo_id}: the hub at {api.endpoint} cannot be reached ({error})") from error
    return str(made)


def _matching(names: list[str], patterns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def _refused(repo_id: str, status: int, error: Exception) -> MusicError:
    """Return the error for a status of the hub."""
    why = str(error).partition("\n")[0]
    if status in (401, 403):
        return InvalidInputError(f"{repo_id}: the hub refuses the token ({status}): it needs write access there; {why}")
    return MusicError(f"{repo_id}: the hub answered {status}: {why}")
