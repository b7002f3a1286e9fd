"""The benchmarks of simulation run at small size: they use the product as users do, and fail where it has changed."""

import math

from benchmarks.simulation_cpu import measure_cpu
from benchmarks.simulation_load import measure_load, measure_memory
from music.sandbox.server import sandbox_server


async def test_cpu_is_measured():
    with sandbox_server() as base_url:
        costs = await measure_cpu(base_url, num_pairs=5, num_rounds=1)
    assert costs["product"][0] > 0


async def test_load_is_measured():
    with sandbox_server() as base_url:
        assert (await measure_load(base_url, in_flight=20, latency=0.01)).calls_per_second > 0


def test_memory_is_measured():
    assert math.isfinite(measure_memory(None, 300))  # in a process that has freed memory before, the figure may be 0
