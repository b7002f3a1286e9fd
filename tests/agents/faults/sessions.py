"""Runs sessions of one simulation, each in a forked child, so that a killed one costs no start-up: CONFIG OUT.

Every line on standard input starts a session, which heeds Ctrl-C and SIGTERM as the command does. Its process id and,
when it has ended, its return code come back, each on a line; a signal's number is negative, as `subprocess` has it.
"""

import os
import sys
from pathlib import Path

from music.aio import run_async
from music.pairs import PreferencePair
from music_agents import SimulationConfig, run_simulation
from music_agents.progress import stop_on_signals
from music_agents.run import RunReport
from music_agents.run.roles import make_progress
from music_agents.seeds import load_seeds


async def session(config: SimulationConfig, out: Path, seeds: list[PreferencePair]) -> RunReport:
    progress = make_progress(config)
    with stop_on_signals(progress):
        return await run_simulation(config, out, seeds=seeds, progress=progress)


def main() -> None:
    config, out = SimulationConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2])
    seeds = load_seeds(*config.seed_source()).seeds
    while sys.stdin.readline():
        pid = os.fork()
        if not pid:
            os._exit(0 if run_async(session(config, out, seeds)).status == "complete" else 3)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
