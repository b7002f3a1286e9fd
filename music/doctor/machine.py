"""The machine: processors, memory, GPUs, and the folders in which models and results are kept."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from music.doctor.check import Check, State

__all__ = ["check_devices", "check_folders", "check_hub"]

GIB = 2**30
_BROKEN_TORCH = (ImportError, OSError, ValueError, AttributeError, RuntimeError)
"""What an import of a damaged torch raises: a module is missing, a library cannot be loaded or is not found, or files
are of two versions."""


def check_devices() -> Iterator[Check]:
    """Yield processors, memory and GPUs."""
    try:
        import torch
    except _BROKEN_TORCH as error:
        yield _problem("devices", "torch", f"cannot be imported: {error}", "reinstall torch: https://pytorch.org")
        return
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check(area="devices", name="CPU", text=f"{num_cores} cores, {torch.get_num_threads()} torch threads")
    if memory := _memory():
        yield Check(area="devices", name="memory", text=f"{memory / GIB:.1f} GiB")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            text = f"{card.name}, {card.total_memory / GIB:.1f} GiB, CUDA {torch.version.cuda}"
            yield Check(area="devices", name=f"cuda:{index}", text=text)
    elif shutil.which("nvidia-smi"):
        yield _problem(
            "devices",
            "CUDA",
            f"torch {torch.__version__} cannot use the NVIDIA driver that is installed",
            "install the build of torch for your driver: https://pytorch.org/get-started/locally",
        )
    else:
        yield Check(area="devices", name="CUDA", state=State.OPTIONAL, text="no GPU: models compute on the CPU")


def check_folders() -> Iterator[Check]:
    """Yield whether the folders of results, of models and of temporary files can be written."""
    from huggingface_hub import constants

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    yield _folder("current folder", Path.cwd(), "change to a folder of your own")
    yield _folder("hub cache", Path(constants.HF_HUB_CACHE), "set HF_HOME to a writable folder")
    yield _folder("cache", cache / "music-rm", "set XDG_CACHE_HOME to a writable folder")
    yield _folder("temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a writable folder")


def check_hub() -> Check:
    """Return whether there is a token of the Hugging Face hub, which gated models and `music push` need."""
    from huggingface_hub import constants, get_token

    offline = ", HF_HUB_OFFLINE is set: only models in the cache are found" if constants.HF_HUB_OFFLINE else ""
    if get_token():
        return Check(area="hub", name="token", text=f"set{offline}")
    text = f"not set; gated models and music push need one{offline}"
    return Check(area="hub", name="token", state=State.OPTIONAL, text=text, fix="hf auth login")


def _folder(name: str, folder: Path, fix: str) -> Check:
    """Return whether a file can be made in a folder, or in the one in which it would be created."""
    nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        return _problem("folders", name, f"{folder}: cannot be written ({error.strerror})", fix)
    free = shutil.disk_usage(nearest).free
    return Check(area="folders", name=name, text=f"{folder}: writable, {free / GIB:,.1f} GiB free")


def _memory() -> int:
    """Return the memory that this process may use, in bytes; 0 if the system does not tell."""
    with suppress(OSError, ValueError, AttributeError):
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        with suppress(OSError, ValueError):  # "max" without a limit
            return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
        return total
    return 0


def _problem(area: str, name: str, text: str, fix: str) -> Check:
    return Check(area=area, name=name, state=State.PROBLEM, text=text, fix=fix)
