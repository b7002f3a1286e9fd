"""The cost of simulation for its client: `python -m benchmarks.simulation [--quick]`.

Prints a Markdown report: client CPU time per call of the product, of a plain asyncio + aiohttp loop and of AsyncOpenAI
on the same requests (`simulation_cpu`), throughput and event-loop lag with many pairs in flight, memory per pair
(`simulation_load`), and two processes against one (`simulation_processes`). Needs `pip install openai`.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from typing import Any

from benchmarks.simulation_cpu import IN_FLIGHT, NUM_TURNS, measure_cpu, measure_ratio
from benchmarks.simulation_load import Load, measure_load, measure_memory
from benchmarks.simulation_processes import measure_processes
from music.cli import run_async
from music.sandbox.server import ServerConfig, sandbox_server

PACKAGES = ("aiohttp", "langgraph", "openai", "orjson", "pydantic", "uvloop")
LOADS = ((250, 0.2), (500, 0.2), (1000, 0.2), (1000, 1.0))
RATIOS = ((64, 0.0), (256, 0.0), (1000, 0.0), (256, 0.2), (1000, 0.2))
NEVER = "600000"


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="about two minutes instead of many")
    quick = parser.parse_args().quick
    with sandbox_server() as base_url:
        costs = run_async(measure_cpu(base_url, num_pairs=40 if quick else 200, num_rounds=3 if quick else 7))
    show(render_costs(costs))
    show(render_ratios(list(measure_ratios(1 if quick else 5))))
    show(render_loads(list(measure_loads(LOADS[:1] if quick else LOADS))))
    show(render_memory(500 if quick else 5000))
    show(render_processes(1000 if quick else 4000))


def show(lines: Iterator[str]) -> None:
    """Print a part of the report at once."""
    print("\n".join(lines), flush=True)
    print()


def in_fresh_process(measure: Callable[[str | None, int], float], *arguments: Any) -> float:
    """Measure in a new process, without memory that earlier measurements left."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def measure_ratios(num_rounds: int) -> Iterator[tuple[int, float, float, float]]:
    """Yield pairs in flight, latency in seconds, and the CPU time per call of the product and of a plain loop."""
    for in_flight, latency in RATIOS:
        with sandbox_server(ServerConfig(latency=f"{latency * 1000:g}")) as base_url:
            yield in_flight, latency, *run_async(measure_ratio(base_url, in_flight, num_rounds))


def measure_loads(loads: tuple[tuple[int, float], ...]) -> Iterator[Load]:
    """Measure each load with a server of its latency."""
    for in_flight, latency in loads:
        with sandbox_server(ServerConfig(latency=f"{latency * 1000:g}")) as base_url:
            yield run_async(measure_load(base_url, in_flight, latency))


def render_costs(costs: dict[str, list[float]]) -> Iterator[str]:
    """Return the CPU table as Markdown."""
    medians = {name: statistics.median(values) for name, values in costs.items()}
    plain = medians["plain loop"]
    yield f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    yield f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}; {IN_FLIGHT} in flight, {NUM_TURNS} turns"
    yield ""
    yield "| client CPU per call | median us | rounds | x plain loop |"
    yield "|---|---|---|---|"
    for name, values in costs.items():
        yield f"| {name} | {medians[name]:.0f} | {min(values):.0f}-{max(values):.0f} | {medians[name] / plain:.2f} |"
    yield ""
    faster = medians["AsyncOpenAI + gather"] / medians["product"]
    yield f"Calls per CPU-second: {faster:.1f} times AsyncOpenAI's (target 6)."


def render_ratios(ratios: list[tuple[int, float, float, float]]) -> Iterator[str]:
    """Return the product and the plain loop, by pairs in flight and latency, as Markdown."""
    yield "| in flight | latency ms | product us | plain loop us | calls per CPU-second, of plain's (target 0.40) |"
    yield "|---|---|---|---|---|"
    for in_flight, latency, product, plain in ratios:
        yield f"| {in_flight} | {latency * 1000:.0f} | {product:.0f} | {plain:.0f} | {plain / product:.2f} |"


def render_loads(loads: list[Load]) -> Iterator[str]:
    """Return the table of loads as Markdown."""
    yield "| in flight | latency ms | calls/s | of the ideal | client CPU | loop lag p99 ms | plain loop calls/s |"
    yield "|---|---|---|---|---|---|---|"
    for load in loads:
        yield (
            f"| {load.in_flight} | {load.latency * 1000:.0f} | {load.calls_per_second:.0f} | {load.share_of_ideal:.0%} "
            f"| {load.cpu_share:.0%} | {load.lag_p99 * 1000:.0f} | {load.plain_calls_per_second:.0f} |"
        )


def render_memory(num_parked: int) -> Iterator[str]:
    """Return the memory of a pair in flight, as Markdown."""
    here = in_fresh_process(measure_memory, None, num_parked)
    with sandbox_server(ServerConfig(latency=NEVER)) as base_url:
        over_http = in_fresh_process(measure_memory, base_url, num_parked)
    yield f"Memory per pair in flight, {num_parked} parked in a call in their third turn: {here:.0f} KB (target 60);"
    yield f"{over_http:.0f} KB with the call's open HTTP connection, request and body."


def render_processes(num_pairs: int) -> Iterator[str]:
    """Return the gain of a second process, as Markdown."""
    one, two = (measure_processes(num, num_pairs) for num in (1, 2))
    yield f"Calls per second of one process: {one:.0f}; of two: {two:.0f}, {two / one:.2f} times as many (target 1.8)."


if __name__ == "__main__":
    main()
