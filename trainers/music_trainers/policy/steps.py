"""`TrainingStep`: what one step of policy training played, a line of `training.jsonl`."""

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Self

from pydantic import BaseModel, ConfigDict

from music_trainers.policy.rollouts import Trajectory

__all__ = ["TrainingStep"]


class TrainingStep(BaseModel):
    """The episodes of one step.

    Attributes:
        step: Its number, from 1.
        reward: Mean reward of the replies; None if none has one.
        num_replies: Replies of the policy.
        num_cut: Replies that were cut at the largest number of tokens.
        num_blank: Replies without text, which get the floor and end their episode.
        num_unscorable: Replies that get the floor: the blank ones, and those that the reward could not score.
        num_late: Episodes that had not ended when an asynchronous step did; their last reply is dropped.
        num_full: Episodes that ended because the next prompt would be too long.
        num_failed: Episodes that ended with an error.
    """

    model_config = ConfigDict(frozen=True)

    step: int
    reward: float | None
    num_replies: int
    num_cut: int
    num_blank: int
    num_unscorable: int
    num_late: int
    num_full: int
    num_failed: int

    @classmethod
    def of(cls, step: int, played: Sequence[Trajectory]) -> Self:
        """Count what was played in a step."""
        rewards = [reward for row in played for reward in row.rewards if math.isfinite(reward)]
        return cls(
            step=step,
            reward=fmean(rewards) if rewards else None,
            num_replies=sum(len(row.rewards) for row in played),
            num_cut=sum(row.num_cut for row in played),
            num_blank=sum(row.num_blank for row in played),
            num_unscorable=sum(row.is_unscorable for row in played),
            num_late=sum(row.is_late for row in played),
            num_full=sum(row.is_full for row in played),
            num_failed=sum(bool(row.error) for row in played),
        )

    @staticmethod
    def describe(steps: Sequence["TrainingStep"]) -> str:
        """Return in words what did not go as it should in these steps; empty if all is well."""
        total = {
            name: sum(getattr(step, name) for step in steps) for name in TrainingStep.model_fields if "num" in name
        }
        refused = total["num_unscorable"] - total["num_blank"]
        parts = [
            (total["num_blank"], "blank (floor)"),
            (refused, "that the reward could not score (floor)"),
            (total["num_cut"], "cut at the token limit"),
        ]
        ends = [
            (total["num_late"], "late"),
            (total["num_full"], "ended with a full context"),
            (total["num_failed"], "failed"),
        ]
        replies = [f"{num} {what}" for num, what in parts if num]
        episodes = [f"{num} {what}" for num, what in ends if num]
        told = [f"of {total['num_replies']} replies, {', '.join(replies)}"] if replies else []
        return "; ".join([*told, *([f"episodes: {', '.join(episodes)}"] if episodes else [])])
