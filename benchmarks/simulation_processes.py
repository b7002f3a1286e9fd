"""One process against several: `music simulate` with the sandbox in every role, in the workers themselves.

No server takes cores away, so this shows how the work scales. Figures are calls per second from the command's own JSON
events, between the first and the last in the middle of the run: start-up and merging are left out.
"""

import subprocess
import sys
import tempfile

import orjson

__all__ = ["measure_processes"]

SHELL = [sys.executable, "-c", "from music.cli import main; main()"]


def measure_processes(num_processes: int, num_pairs: int) -> float:
    """Return the calls per second of `music simulate` with some number of processes."""
    with tempfile.TemporaryDirectory() as directory:
        flags = [f"--out={directory}/run", f"--num-pairs={num_pairs}", "--max-in-flight=256", "--json"]
        command = [*SHELL, "simulate", "sandbox", *flags, f"--processes={num_processes}"]
        events = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    written = [orjson.loads(line) for line in events if line.startswith("{")]
    snapshots = [event for event in written if event["event"] == "progress"]
    middle = [s for s in snapshots if 0.05 < s["num_pairs"] / num_pairs < 0.95]
    first, last = middle[0], middle[-1]
    return float(last["num_calls"] - first["num_calls"]) / float(last["seconds"] - first["seconds"])
