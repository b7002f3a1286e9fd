"""The user's own code in commands: importing it, digests of it, and messages about its errors.

Users write `FILE.py` or `MODULE`, and `FILE.py:NAME` or `MODULE:NAME` for an object in it. A file may import modules
beside it. An error in such code is reported with the last frame of the user's code, without the frames of this toolkit.
"""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType, ModuleType

from music.errors import InvalidInputError, MusicError
from music.names import did_you_mean, nearest_path

__all__ = ["UserCodeError", "describe_fault", "digest_code", "import_code", "load_object", "user_faults"]

_OURS = {"music", "music_agents", "music_envs", "music_trainers"}
_LOADED: set[Path] = set()
"""Files and folders whose frames are the user's."""


class UserCodeError(MusicError):
    """The user's code raised an error; the message says where."""


def import_code(spec: str) -> ModuleType:
    """Import `FILE.py` or `MODULE`, once per process.

    Raises:
        InvalidInputError: There is no such file or module.
        UserCodeError: It cannot be imported; the message says which line failed.
    """
    if not spec.endswith(".py"):
        return _import_module(spec)
    path = Path(spec)
    if not path.is_file():
        raise InvalidInputError(f"expected a Python file, found nothing at {spec}{nearest_path(spec)}")
    return _import_file(path.resolve())


def load_object(spec: str) -> object:
    """Return the object that `FILE.py:NAME` or `MODULE:NAME` names.

    Raises:
        InvalidInputError: It has another form, or there is no such file, module or name.
        UserCodeError: The code cannot be imported.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise InvalidInputError(f"expected FILE.py:FUNCTION or MODULE:FUNCTION, got {spec!r}")
    module = import_code(place)
    if not hasattr(module, name):
        raise InvalidInputError(f"expected a name in {place}, got {name!r}{did_you_mean(name, vars(module))}")
    return getattr(module, name)


def digest_code(specs: Iterable[str]) -> dict[str, str]:
    """Return a digest of the file of each `FILE.py` or `MODULE`, by module name."""
    modules = [import_code(spec) for spec in specs]
    files = {module.__name__: Path(module.__file__).read_bytes() for module in modules if module.__file__}
    return {name: f"digest {hashlib.blake2b(text, digest_size=8).hexdigest()}" for name, text in files.items()}


def describe_fault(error: BaseException) -> str | None:
    """Return the line of the user's code that raised an error; None if the error came from other code.

    Returns:
        Two lines: file, line, function and error; then the source.
    """
    frames = [(frame, number) for frame, number in traceback.walk_tb(error.__traceback__) if _is_users(frame)]
    said = str(error) if isinstance(error, MusicError) else f"{type(error).__name__}: {error}".removesuffix(": ")
    if isinstance(error, SyntaxError) and error.filename and not error.filename.startswith("<"):
        source = (error.text or "").strip()
        return f"{_shown(error.filename)}, line {error.lineno}: SyntaxError: {error.msg}\n    {source}"
    if not frames:
        return describe_fault(error.__cause__) if error.__cause__ else None
    frame, number = frames[-1]
    (last,) = traceback.StackSummary.extract([(frame, number)])
    within = "" if last.name == "<module>" else f", in {last.name}"
    return f"{_shown(last.filename)}, line {number}{within}: {said}\n    {last.line}"


@contextmanager
def user_faults() -> Iterator[None]:
    """Convert errors of the user's code to `UserCodeError`; other errors pass. Use it at the boundary of a process.

    Raises:
        UserCodeError: The user's code raised an error.
    """
    try:
        yield
    except MusicError:
        raise
    except Exception as error:
        if (fault := describe_fault(error)) is None:
            raise
        raise UserCodeError(fault) from error


@cache
def _import_file(path: Path) -> ModuleType:
    """Import a file, which may import modules beside it."""
    name = path.stem.replace(".", "_")
    while _is_taken(name, path):
        name += "_"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    _LOADED.add(path.parent)
    with _importing(str(path), name), _first_on_path(str(path.parent)):
        spec.loader.exec_module(module)
    return module


def _is_taken(name: str, path: Path) -> bool:
    """Whether a module other than the file has this name."""
    if name in sys.modules:
        return True
    found = importlib.util.find_spec(name)
    return found is not None and found.origin != str(path)


def _import_module(name: str) -> ModuleType:
    """Import a module that is on the path."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None:
        near = f"; did you mean '{name}.py'?" if Path(f"{name}.py").is_file() else nearest_path(f"{name}.py")
        raise InvalidInputError(f"expected FILE.py or a module that can be imported, got {name!r}{near}")
    origin = Path(found.origin).resolve()
    _LOADED.add(origin.parent if found.parent else origin)
    with _importing(name, name):
        return importlib.import_module(name)


@contextmanager
def _importing(shown: str, name: str) -> Iterator[None]:
    """Convert an error of the imported code to a `UserCodeError` that names its line."""
    try:
        yield
    except Exception as error:
        sys.modules.pop(name, None)
        fault = describe_fault(error) or f"{shown}: {type(error).__name__}: {error}"
        raise UserCodeError(f"cannot be imported: {fault}") from error


@contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    """Look for modules in a folder first within the block, and last afterwards."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def _is_users(frame: FrameType) -> bool:
    """Whether a frame is of code that was loaded here, or of modules beside it."""
    if frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        return False
    path = Path(frame.f_code.co_filename).resolve()
    homes = [home for home in _LOADED if path.is_relative_to(home)]
    return any("site-packages" not in path.relative_to(home).parts for home in homes)


def _shown(path: str) -> str:
    """Return a path as the user would write it."""
    here, there = Path.cwd(), Path(path).resolve()
    return str(there.relative_to(here)) if there.is_relative_to(here) else str(there)
