"""Dealing out: what each worker may take of the run's pace and budget, so that the whole run keeps to them.

Pairs in flight and requests and tokens per minute are divided by the workers at work. What is left of the budget is
divided by the shares that are to be simulated, on top of what each of them has spent; what a share leaves over is dealt
out anew.
"""

import math
from collections.abc import Mapping, Sequence

from music.llm.spending.records import Spending
from music_agents.run import SimulationJob
from music_agents.scaleout.orders import ShareOrder
from music_agents.scaleout.part import Part

__all__ = ["deal"]


def deal(
    job: SimulationJob,
    parts: Sequence[Part],
    end: int,
    num_workers: int,
    spent: Mapping[int, Spending],
    *,
    retry_failed: bool = False,
    probe: bool = False,
) -> list[ShareOrder]:
    """Return the orders to simulate shares up to an index.

    Args:
        job: Of the whole run.
        parts: The shares that are to be simulated.
        end: The index.
        num_workers: How many of them are simulated at a time.
        spent: What every share of the run has spent, by its number.
        retry_failed: Whether failed pairs are tried again.
        probe: Whether the first of the workers asks every endpoint once beforehand, for all of them.
    """
    job = _slow_down(job, min(num_workers, len(parts)))
    return [
        ShareOrder(
            job=_bound(job, spent, part.number, len(parts)),
            directory=part.directory,
            share=part.share(end),
            retry_failed=retry_failed,
            probe=probe and part is parts[0],
        )
        for part in parts
    ]


def _slow_down(job: SimulationJob, num_workers: int) -> SimulationJob:
    """Return a worker's job, with its part of the pace."""
    client = job.endpoints.client
    pacing = client.pacing
    rates = {"requests_per_minute": pacing.requests_per_minute, "tokens_per_minute": pacing.tokens_per_minute}
    limits = {name: rate / num_workers for name, rate in rates.items() if rate is not None}
    client = client.model_copy(update={"pacing": pacing.model_copy(update=limits)})
    in_flight = max(1, job.config.max_in_flight // num_workers)
    return job.model_copy(
        update={
            "endpoints": job.endpoints.model_copy(update={"client": client}),
            "config": job.config.model_copy(update={"max_in_flight": in_flight}),
        }
    )


def _bound(job: SimulationJob, spent: Mapping[int, Spending], number: int, num_parts: int) -> SimulationJob:
    """Return a share's job, with its part of the budget."""
    bounds: dict[str, float] = {}
    own, config = spent[number], job.config
    if config.max_total_tokens is not None:
        left = config.max_total_tokens - sum(spending.num_tokens for spending in spent.values())
        bounds["max_total_tokens"] = own.num_tokens + math.ceil(left / num_parts)
    if config.max_cost is not None:
        left_cost = config.max_cost - sum(spending.cost or 0.0 for spending in spent.values())
        bounds["max_cost"] = (own.cost or 0.0) + left_cost / num_parts
    return job.model_copy(update={"config": config.model_copy(update=bounds)})
