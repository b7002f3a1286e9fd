"""`InFlight`: steps of a vector environment that are under way on the background loop, each with its own user.

`Step` is what one environment does in a step; `take_step` plays it, and `with_rewards` rewards many.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from music.aio import NUM_PER_ROUND, run_in_background
from music.gc import relaxed
from music_envs.chat.episode import Episode
from music_envs.chat.world import ChatWorld

__all__ = ["InFlight", "Rewarding", "Step", "take_step", "with_rewards"]

Rewarding = Callable[[Sequence[Episode], Sequence[Episode]], tuple[list[float], list[Episode]]]
"""Rewards one step of each episode, as `ChatWorld.reward` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one environment does in a step: it plays a turn, begins an episode, or does both.

    Attributes:
        before: The episode before its turn; None if no turn is played.
        after: The same episode after it.
        begun: The next episode, if it begins.
        generator: The environment's generator after the draws of the next episode, if it begins.
        reward: Of the turn.
    """

    before: Episode | None = None
    after: Episode | None = None
    begun: Episode | None = None
    generator: np.random.Generator | None = None
    reward: float = 0.0


async def take_step(
    world: ChatWorld, episode: Episode, action: str, generator: np.random.Generator, is_same_step: bool
) -> Step:
    """Play a turn of a running episode; for one that is over, ignore the action and begin the next one.

    Args:
        world: The user.
        episode: The environment's episode.
        action: The reply.
        generator: Draws the next episode; it is copied, so a step that is not used draws nothing.
        is_same_step: Whether the next episode begins in the step that ends this one.
    """
    before = episode if episode.stop_reason is None else None
    after = await world.reply(before, action) if before else None
    if after and not (is_same_step and after.stop_reason):
        return Step(before=before, after=after)
    generator = deepcopy(generator)
    return Step(before=before, after=after, begun=await world.begin(generator), generator=generator)


def with_rewards(steps: Mapping[int, Step], reward: Rewarding) -> dict[int, Step]:
    """Return steps with the rewards of their turns, and their episodes with the scores."""
    turns = {i: (step.before, step.after) for i, step in steps.items() if step.before and step.after}
    rewards, scored = reward([before for before, _ in turns.values()], [after for _, after in turns.values()])
    rewarded = zip(turns, rewards, scored, strict=True)
    return dict(steps) | {i: replace(steps[i], reward=paid, after=after) for i, paid, after in rewarded}


class InFlight:
    """Steps by environment. A step is in flight from `start` until `forget`, whether or not it has ended."""

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Task[Step]] = {}
        self._ended: dict[int, None] = {}  # in the order in which they ended
        self._has_ended = asyncio.Event()

    def __len__(self) -> int:
        """Return the number of steps in flight."""
        return len(self._tasks)

    def __contains__(self, env: object) -> bool:
        """Return whether an environment has a step in flight."""
        return env in self._tasks

    def start(self, steps: Mapping[int, Coroutine[Any, Any, Step]]) -> None:
        """Start steps, a few per round of the loop (see `music.aio.finish_all`)."""
        with relaxed():
            run_in_background(self._start(steps))

    def wait(self, at_least: int, timeout: float | None) -> list[int]:
        """Wait until some steps have ended, or until the time is over; return the environments of all that have."""
        with relaxed():
            return run_in_background(self._wait(at_least, timeout))

    def results(self, envs: Iterable[int]) -> dict[int, Step]:
        """Return the steps of environments that have ended.

        Raises:
            EndpointError, RoleFailedError: One began no episode. That one is not in flight any more; the others are.
        """
        steps = {}
        for env in envs:
            if error := self._tasks[env].exception():
                self.forget([env])
                error.add_note(f"environment {env} began no episode; the others are not affected")
                raise error
            steps[env] = self._tasks[env].result()
        return steps

    def forget(self, envs: Iterable[int]) -> None:
        """Take steps that have ended out of flight."""
        for env in envs:
            del self._tasks[env], self._ended[env]

    def drop(self, envs: Sequence[int]) -> None:
        """Cancel the steps of these environments, if they are in flight, and wait until they have stopped."""
        if dropped := [env for env in envs if env in self]:
            run_in_background(self._cancel(dropped))
            self.forget(dropped)

    async def _start(self, steps: Mapping[int, Coroutine[Any, Any, Step]]) -> None:
        if not self:
            self._has_ended = asyncio.Event()  # of this loop: a forked child has another one
        for number, (env, step) in enumerate(steps.items(), 1):
            self._tasks[env] = task = asyncio.create_task(step)
            task.add_done_callback(lambda _, env=env: self._end(env))  # type: ignore[misc]
            if number % NUM_PER_ROUND == 0:
                await asyncio.sleep(0)

    async def _wait(self, at_least: int, seconds: float | None) -> list[int]:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(self._ended) < at_least:
                    self._has_ended.clear()
                    await self._has_ended.wait()
        return list(self._ended)

    async def _cancel(self, envs: Sequence[int]) -> None:
        for env in envs:
            self._tasks[env].cancel()
        await asyncio.gather(*(self._tasks[env] for env in envs), return_exceptions=True)
        await asyncio.sleep(0)  # their callbacks have run

    def _end(self, env: int) -> None:
        self._ended[env] = None
        self._has_ended.set()
