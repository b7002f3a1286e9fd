"""`index_in_background`: the process that keeps an index up to date, without what it imports."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["index_in_background"]

# Pages come first, from the start: the imports compete with the first page.
_PROGRAM = """
import os, sys
if hasattr(os, "nice"): os.nice(5)
from music.viewer.refresh import keep_up_to_date
keep_up_to_date(*sys.argv[1:])
"""


@contextmanager
def index_in_background(path: Path, sources: Sequence[str]) -> Iterator[None]:
    """Keep an index up to date during the block, in a process of its own, which ends with this one."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", _PROGRAM, str(path), *sources]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=env, start_new_session=True) as process:
        try:
            yield
        finally:
            process.kill()  # what it was writing is undone when the index is next opened
