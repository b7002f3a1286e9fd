"""How fast many chat environments step: `python -m benchmarks.envs [--quick]`.

Prints a Markdown report: steps per second of `ChatVectorEnv` with 256 conversations and users that take 200 ms, in this
process (an asyncio sleep) and over HTTP. It is compared with the ideal and with Gymnasium's `SyncVectorEnv` of the same
environments. A second table has the CPU time of a step if the user takes no time. Over HTTP there is a third baseline:
the same requests by hand, in step. The server of canned replies takes almost no CPU; the sandbox's server writes every
reply, on the same cores.

A step is one reply in one conversation, with exactly one call to the user. Snapshots repeat the same step, which is
neither the first nor the last of its episode. So the ideal is the number of conversations divided by the latency.
Client and server share this machine's cores; the contenders alternate.
"""

import argparse
import asyncio
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import aiohttp
import orjson
from gymnasium.vector import SyncVectorEnv

from benchmarks.canned_server import canned_server
from music.cli import run_async
from music.conversation import Conversation
from music.pairs import Usage
from music.prompts import render_user
from music.sandbox.server import ServerConfig, sandbox_server
from music_agents.roles import RoleTurn, RoleView
from music_envs import ChatEnv, ChatVectorEnv

__all__ = ["main"]

NUM_ENVS = 256
LATENCY = 0.2
PACKAGES = ("aiohttp", "gymnasium", "numpy")
SEEDS = (Conversation().user("I am new to gardening. Could you give me three ideas on tools?"),)
REPLY = "Start with a spade, a fork and a pair of gloves; buy the rest once you know what you grow."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The speed of stepping.

    Attributes:
        per_second: Steps per second of all conversations together.
        cpu_ms: CPU time of this process per step, in milliseconds.
    """

    per_second: float
    cpu_ms: float


class Clock:
    """Adds up the time of its `with` blocks."""

    def __init__(self) -> None:
        self._seconds = self._cpu = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        started, cpu = self._started
        self._seconds += time.perf_counter() - started
        self._cpu += time.process_time() - cpu

    def pace(self, num_steps: int) -> Pace:
        """Return the speed of some steps."""
        return Pace(per_second=num_steps / self._seconds, cpu_ms=1000 * self._cpu / num_steps)


class SleepingUser:
    """A user in this process who answers after a fixed time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Return a message after the delay."""
        if self._seconds:
            await asyncio.sleep(self._seconds)
        return RoleTurn(text=f"And what would you say to point {view.turn}?", usage=Usage(1, 100, 10))


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="about half a minute instead of a few")
    quick = parser.parse_args().quick
    num_steps, num_serial, num_rounds = (5, 8, 3) if quick else (20, 64, 7)
    print("\n".join(head()), flush=True)
    print("\n".join(list(render_latency(num_steps, num_serial, num_rounds))), flush=True)
    print("\n".join(list(render_cpu(num_rounds))))


def head() -> Iterator[str]:
    """Return the description of the run."""
    yield f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    load = f"load average {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else "load not known"
    yield f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}; {load}"
    yield ""


def render_latency(num_steps: int, num_serial: int, num_rounds: int) -> Iterator[str]:
    """Return steps per second with a user of 200 ms, as Markdown; the serial baselines take fewer conversations."""
    yield f"{NUM_ENVS} conversations, a user of {LATENCY * 1000:.0f} ms; medians and ranges of {num_rounds} rounds."
    yield ""
    yield "| | steps/s | rounds | of the ideal | CPU per step ms |"
    yield "|---|---|---|---|---|"
    yield from rows("in process", SleepingUser(LATENCY), None, num_steps, num_serial, num_rounds)
    with canned_server(LATENCY) as url:
        yield from rows("over HTTP", f"good@{url}", url, num_steps, num_serial, num_rounds)
    with sandbox_server(ServerConfig(latency=f"{LATENCY * 1000:g}")) as url:
        yield from rows("over HTTP, the sandbox's server", f"good@{url}", url, num_steps, num_serial, num_rounds)
    yield ""


def rows(name: str, user: Any, url: str | None, num_steps: int, num_serial: int, num_rounds: int) -> Iterator[str]:
    """Measure all contenders with one user and return a row for each; requests by hand only with a URL."""
    ours, plain = list[Pace](), list[Pace]()
    for _ in range(num_rounds):
        ours.append(measure(ChatVectorEnv(NUM_ENVS, **arguments(user)), num_steps))
        if url:
            plain.append(run_async(measure_plain(url, num_steps)))
    yield row(f"{name}: ChatVectorEnv (target 85 %)", ours)
    if url:
        yield row(f"{name}: aiohttp by hand, all at once, then the next step", plain)
    serial = measure(serial_envs(num_serial, user), 1)
    yield row(f"{name}: SyncVectorEnv of {num_serial}", [serial])
    yield f"| {name}: times SyncVectorEnv (target 20) | {median(ours) / serial.per_second:.0f} | | | |"


def row(name: str, paces: list[Pace]) -> str:
    """Return a row of the table."""
    speeds, cpu = sorted(pace.per_second for pace in paces), sorted(pace.cpu_ms for pace in paces)
    ideal = NUM_ENVS / LATENCY
    return (
        f"| {name} | {median(paces):.1f} | {speeds[0]:.1f}-{speeds[-1]:.1f} | {median(paces) / ideal:.1%} "
        f"| {cpu[len(cpu) // 2]:.2f} |"
    )


def median(paces: list[Pace]) -> float:
    """Return the median of the steps per second."""
    return statistics.median(pace.per_second for pace in paces)


def render_cpu(num_rounds: int) -> Iterator[str]:
    """Return the CPU time of a step with an instant user, by turns per episode and reward mode, as Markdown."""
    yield "| user, 0 ms | reward | turns before | CPU per step ms (target 1) | SyncVectorEnv ms |"
    yield "|---|---|---|---|---|"
    for mode in ("terminal", "per_turn", "difference"):
        for num_turns in (1, 10):
            user = SleepingUser(0)
            ours = [
                measure(ChatVectorEnv(NUM_ENVS, **arguments(user, mode)), 10, num_turns).cpu_ms
                for _ in range(num_rounds)
            ]
            serial = measure(serial_envs(NUM_ENVS, user, mode), 10, num_turns).cpu_ms
            yield f"| in process | {mode} | {num_turns} | {min(ours):.3f}-{max(ours):.3f} | {serial:.3f} |"


def arguments(user: Any, mode: str = "terminal") -> dict[str, Any]:
    """Return the arguments of all environments."""
    return {"user": user, "reward": "length", "reward_mode": mode, "seeds": SEEDS, "num_turns": 100}


def serial_envs(num: int, user: Any, mode: str = "terminal") -> SyncVectorEnv[Any, Any]:
    """Make Gymnasium's `SyncVectorEnv` of single environments."""
    return SyncVectorEnv([partial(ChatEnv, **arguments(user, mode))] * num)


async def measure_plain(base_url: str, num_steps: int) -> Pace:
    """Send the users' requests by hand, all at once in each step."""
    conversation = SEEDS[0].assistant(REPLY).user("And what would you say to that?").assistant(REPLY)
    messages = [{"role": m.role, "content": m.content} for m in render_user(conversation)]
    url, headers = f"{base_url}/chat/completions", {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(seed: int) -> None:
            body = orjson.dumps({"model": "good", "messages": messages, "seed": seed})
            async with session.post(url, data=body, headers=headers) as response:
                assert orjson.loads(await response.read())["choices"][0]["message"]["content"]

        await asyncio.gather(*map(ask, range(NUM_ENVS)))  # connections are made
        clock = Clock()
        for _ in range(num_steps):
            with clock:
                await asyncio.gather(*map(ask, range(NUM_ENVS)))
        return clock.pace(num_steps * NUM_ENVS)


def measure(envs: ChatVectorEnv | SyncVectorEnv[Any, Any], num_steps: int, num_turns: int = 1) -> Pace:
    """Repeat one step, after some turns, and close the environments."""
    actions = (REPLY,) * envs.num_envs
    envs.reset(seed=0)
    for _ in range(num_turns):
        envs.step(actions)
    places: Sequence[Any] = [envs] if isinstance(envs, ChatVectorEnv) else envs.envs
    kept = [place.snapshot() for place in places]
    clock = Clock()
    for _ in range(num_steps):
        for place, snapshot in zip(places, kept, strict=True):
            place.restore(snapshot)
        with clock:
            infos = envs.step(actions)[4]
        assert (infos["usage"]["num_calls"] == num_turns + 1).all(), "a step took more or less than one call"
    pace = clock.pace(num_steps * envs.num_envs)
    envs.close()
    return pace


if __name__ == "__main__":
    main()
