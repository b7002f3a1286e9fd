"""Runs sessions of one simulation, each in a forked child, so that a killed one costs no start-up: JOB OUT.

Every line on standard input starts a session. Its process id and, when it has ended, its return code come back, each on
a line; a signal's number is negative, as `subprocess` has it.
"""

import os
import sys
from pathlib import Path

from music.cli import run_async
from music_agents.run import SimulationJob


def main() -> None:
    job, out = SimulationJob.model_validate_json(sys.argv[1]), Path(sys.argv[2])
    seeds = job.read_seeds()
    while sys.stdin.readline():
        pid = os.fork()
        if not pid:
            report = run_async(job.run(out, seeds, job.progress()))
            os._exit(0 if report.status == "complete" else 3)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
