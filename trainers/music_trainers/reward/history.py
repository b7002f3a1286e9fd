"""`History`: how a run has gone so far, and what follows from that. All of it is saved in checkpoints."""

import math
from dataclasses import dataclass, field
from typing import Any, Self

from music_trainers.reward.accounting import PackingAccounting
from music_trainers.reward.records import Evaluation

__all__ = ["History"]

WINDOW, MIN_WINDOW = 100, 20
"""Losses that a loss is compared with, and how many there must be."""
FACTOR, NUM_STEPS = 3.0, 5
"""A loss is suspicious beyond this multiple of their mean; so many in a row mean that the run diverges."""


@dataclass(slots=True)
class History:
    """How a run has gone.

    Attributes:
        losses: Of every step.
        evaluations: In order.
        num_tokens: Tokens of all sides of all steps, shared ones as often as they are shared.
        packing: What packing came to.
    """

    losses: list[float] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    num_tokens: int = 0
    packing: PackingAccounting = field(default_factory=PackingAccounting)

    @property
    def step(self) -> int:
        """Steps taken."""
        return len(self.losses)

    @property
    def best(self) -> Evaluation | None:
        """The evaluation with the lowest held-out NLL, the first of equals."""
        return min(self.evaluations, key=lambda evaluation: evaluation.metrics.nll, default=None)

    @property
    def num_stale(self) -> int:
        """Evaluations since the best one."""
        return len(self.evaluations) - 1 - self.evaluations.index(self.best) if self.best else 0

    @property
    def num_suspicious(self) -> int:
        """How many of the last losses in a row are far above those before them.

        They must also be above log 2, the loss of a model that knows nothing: tiny losses leap without harm.
        """
        for count in range(NUM_STEPS, 0, -1):
            before = self.losses[:-count][-WINDOW:]
            if len(before) >= MIN_WINDOW:
                bound = max(math.log(2), FACTOR * sum(before) / len(before))
                if all(loss > bound for loss in self.losses[-count:]):
                    return count
        return 0

    @property
    def has_diverged(self) -> bool:
        """Whether the loss has grown far beyond what it was, for several steps."""
        return self.num_suspicious >= NUM_STEPS

    def state(self) -> dict[str, Any]:
        """Return the history as plain data."""
        return {
            "losses": self.losses,
            "evaluations": [evaluation.model_dump() for evaluation in self.evaluations],
            "num_tokens": self.num_tokens,
            "packing": self.packing.model_dump(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Self:
        """Return the history of a `state`."""
        evaluations = [Evaluation.model_validate(each) for each in state["evaluations"]]
        return cls(state["losses"], evaluations, state["num_tokens"], PackingAccounting(**state["packing"]))
