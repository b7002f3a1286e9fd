"""How fast episodes with users of uneven latency are played: `python -m benchmarks.rollouts [--quick]`.

Prints a Markdown report. The first table has 64 conversations of 4 turns with users whose latency is lognormal (median
200 ms, sigma 1), in lock-step (`ChatVectorEnv.step`) and asynchronously (`send` and `recv`). Both meet the same
latencies. "One batch" is the time until the last of 64 episodes ends. "Steady" begins another episode where one ends,
for a number of steps. Over HTTP the latencies are the server's, so the two contenders meet different ones.

The second table has users behind a server that limits requests per second: what share of its rate is used, beyond the
first second's burst.
"""

import argparse
import asyncio
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.envs import REPLY, SEEDS, head
from music.pairs import Usage
from music.sandbox.server import ServerConfig, sandbox_server
from music_agents.roles import RoleTurn, RoleView
from music_envs import ChatVectorEnv

__all__ = ["main"]

NUM_ENVS, NUM_TURNS = 64, 4
MEDIAN, SIGMA = 0.2, 1.0
LIMITS = (20, 100)

Play = Callable[[ChatVectorEnv, int], int]
"""Plays at least a number of steps; returns how many were played."""


class UnevenUser:
    """A user in this process whose latency is lognormal and depends on the episode and the turn alone."""

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Return a message after the delay."""
        drawn = random.Random(f"{view.run_seed}-{view.turn}").gauss(math.log(MEDIAN), SIGMA)
        await asyncio.sleep(math.exp(drawn))
        return RoleTurn(text=f"And what would you say to point {view.turn}?", usage=Usage(1, 100, 10))


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="about a minute instead of a few")
    num_rounds, seconds = (1, 3) if parser.parse_args().quick else (3, 10)
    print("\n".join(head()), flush=True)
    print("\n".join(render_uneven(num_rounds)), flush=True)
    print("\n".join(render_limited(seconds)))


def render_uneven(num_rounds: int) -> Iterator[str]:
    """Return steps per second in lock-step and asynchronously, as Markdown."""
    latency = f"{MEDIAN * 1000:.0f} ms (lognormal, sigma {SIGMA:g})"
    yield f"{NUM_ENVS} conversations of {NUM_TURNS} turns, users of {latency}; medians and ranges, {num_rounds} rounds."
    yield ""
    yield "| | lock-step steps/s | asynchronous steps/s | times (target 1.5) |"
    yield "|---|---|---|---|"
    once, steady = NUM_ENVS * NUM_TURNS, 4 * NUM_ENVS * NUM_TURNS
    yield row("in process, one batch", UnevenUser(), once, num_rounds, "Disabled")
    yield row("in process, steady", UnevenUser(), steady, num_rounds, "SameStep")
    with sandbox_server(ServerConfig(latency=f"lognormal:{MEDIAN * 1000:g}:{SIGMA:g}")) as url:
        yield row("over HTTP, one batch", f"good@{url}", once, num_rounds, "Disabled")
        yield row("over HTTP, steady", f"good@{url}", steady, num_rounds, "SameStep")
    yield ""


def row(name: str, user: Any, num_steps: int, num_rounds: int, mode: str) -> str:
    """Measure both contenders in turn and return a row."""
    paces: dict[Play, list[float]] = {in_step: [], apart: []}
    for seed in range(num_rounds):
        for play, found in paces.items():
            found.append(pace(play, user, num_steps, seed, mode))
    together, alone = (sorted(found) for found in paces.values())
    times = statistics.median(b / a for a, b in zip(*paces.values(), strict=True))
    cells = [f"{statistics.median(each):.1f} ({each[0]:.1f}-{each[-1]:.1f})" for each in (together, alone)]
    return f"| {name} | {' | '.join(cells)} | {times:.2f} |"


def pace(play: Play, user: Any, num_steps: int, seed: int, mode: str) -> float:
    """Return the steps per second of a way to play."""
    arguments = {"user": user, "reward": "length", "seeds": SEEDS, "num_turns": NUM_TURNS, "autoreset_mode": mode}
    envs = ChatVectorEnv(NUM_ENVS, **arguments)
    envs.reset(seed=seed * 10_000)
    started = time.perf_counter()
    num_played = play(envs, num_steps)
    seconds = time.perf_counter() - started
    envs.close()
    return num_played / seconds


def in_step(envs: ChatVectorEnv, num_steps: int) -> int:
    """Play all conversations in lock-step."""
    for _ in range(num_steps // NUM_ENVS):
        envs.step((REPLY,) * NUM_ENVS)
    return num_steps


def apart(envs: ChatVectorEnv, num_steps: int) -> int:
    """Play every conversation at the pace of its own user; a conversation ends as its mode says."""
    envs.send(dict.fromkeys(range(NUM_ENVS), REPLY))
    num_sent, num_played = NUM_ENVS, 0
    while num_played < num_steps:
        indices, _, _, terminations, truncations, _ = envs.recv()
        num_played += len(indices)
        is_left = envs.metadata["autoreset_mode"].value == "Disabled"
        due = [int(i) for i in (indices[~(terminations | truncations)] if is_left else indices)]
        due = due[: num_steps - num_sent]
        envs.send(dict.fromkeys(due, REPLY))
        num_sent += len(due)
    return num_played


def render_limited(seconds: int) -> Iterator[str]:
    """Return the share of a limited server's rate that is used, as Markdown."""
    yield f"Users behind a server that limits requests per second; {NUM_ENVS} conversations, about {seconds} s each."
    yield ""
    yield "| limit per second | lock-step (target 90 %) | asynchronous (target 90 %) |"
    yield "|---|---|---|"
    for limit in LIMITS:
        with sandbox_server(ServerConfig(limit=limit)) as url:
            shares = [used_share(play, f"good@{url}", limit, seconds) for play in (in_step, apart)]
        yield f"| {limit} | {' | '.join(f'{share:.1%}' for share in shares)} |"


def used_share(play: Play, user: str, limit: int, seconds: int) -> float:
    """Return the share of the rate that is used, once the bucket is empty."""
    arguments: dict[str, Any] = {"num_turns": NUM_TURNS, "autoreset_mode": "SameStep"}
    envs = ChatVectorEnv(NUM_ENVS, user=user, reward="length", seeds=SEEDS, **arguments)
    envs.reset(seed=0)
    batch = NUM_ENVS * NUM_TURNS
    play(envs, batch)  # the burst is over, and the client knows the limit
    started = time.perf_counter()
    num_played = play(envs, batch * math.ceil(seconds * limit / batch))
    elapsed = time.perf_counter() - started
    envs.close()
    num_asked = num_played * (NUM_TURNS - 1) / NUM_TURNS  # nobody answers the last reply of an episode
    return num_asked / elapsed / limit


if __name__ == "__main__":
    main()
