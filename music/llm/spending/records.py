"""Costs and token counts of a run: running sums, and records for `run.json` and the display."""

from dataclasses import asdict, dataclass, fields
from typing import Self

from pydantic import BaseModel, ConfigDict

__all__ = ["AccountSpending", "Charges", "Projection", "Spending"]


@dataclass(slots=True)
class Charges:
    """A running sum over replies and over paid tries that brought none.

    Attributes:
        num_calls: Replies.
        prompt_tokens: Of all replies and paid tries; likewise the next three.
        completion_tokens: See above.
        cached_tokens: Prompt tokens that the endpoint read from its cache.
        cost: In USD, without replies and tries of unknown price.
        num_unpriced: Replies and paid tries of unknown price.
        num_uncounted: Replies without token counts.
        num_failed_tries: Paid tries that brought no reply.
        num_estimated: Paid tries whose tokens are an estimate.
        estimated_tokens: The tokens of those tries.
        num_reused: Replies from a cache, which are free and in no other sum.
        reused_tokens: The tokens of those replies.
    """

    num_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: float = 0.0
    num_unpriced: int = 0
    num_uncounted: int = 0
    num_failed_tries: int = 0
    num_estimated: int = 0
    estimated_tokens: int = 0
    num_reused: int = 0
    reused_tokens: int = 0

    @property
    def num_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def add(self, other: "Charges") -> None:
        """Add another sum."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    def add_reply(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int, cost: float | None) -> None:
        """Add a paid reply."""
        self.num_calls += 1
        self._add_tokens(prompt_tokens, completion_tokens, cached_tokens, cost)

    def add_failed_try(
        self, prompt_tokens: int, completion_tokens: int, cached_tokens: int, cost: float | None, is_estimate: bool
    ) -> None:
        """Add a paid try that brought no reply."""
        self.num_failed_tries += 1
        self._add_tokens(prompt_tokens, completion_tokens, cached_tokens, cost)
        if is_estimate:
            self.num_estimated += 1
            self.estimated_tokens += prompt_tokens + completion_tokens

    def add_reused(self, num_tokens: int) -> None:
        """Count a reply that came from a cache."""
        self.num_reused += 1
        self.reused_tokens += num_tokens

    def _add_tokens(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int, cost: float | None) -> None:
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.cached_tokens += cached_tokens
        if cost is None:
            self.num_unpriced += 1
        else:
            self.cost += cost


class AccountSpending(BaseModel):
    """The costs of one account for one model."""

    model_config = ConfigDict(frozen=True)

    account: str
    """A role, for example `user` or `judge`."""
    model: str
    """Its name in the endpoint's specification."""
    num_calls: int
    """Paid replies."""
    prompt_tokens: int
    """Of replies and of paid failed tries; likewise the next three."""
    completion_tokens: int
    cached_tokens: int = 0
    """Prompt tokens that the endpoint read from its cache."""
    cost: float | None
    """In USD, at the prices of the time; None if a price was not known."""
    num_uncounted: int = 0
    """Replies of this session without token counts, which add no tokens here."""
    num_failed_tries: int = 0
    """Paid tries that brought no reply: time-outs, broken and unreadable bodies."""
    num_estimated: int = 0
    """Failed tries whose tokens are an estimate because the endpoint reported none."""
    estimated_tokens: int = 0
    """The tokens of those tries."""
    num_reused: int = 0
    """Replies from a cache of earlier runs; they are free and in no other number."""
    reused_tokens: int = 0
    """The tokens of those replies."""

    @classmethod
    def of(cls, account: str, model: str, charges: Charges) -> Self:
        """Return the record of an account's charges for a model."""
        counts = asdict(charges)
        cost = None if counts.pop("num_unpriced") else round(counts.pop("cost"), 9)
        return cls(account=account, model=model, **counts | {"cost": cost})


class Spending(BaseModel):
    """The costs of all paid replies and failed tries of a run."""

    model_config = ConfigDict(frozen=True)

    num_calls: int = 0
    num_tokens: int = 0
    """Prompt and completion tokens together."""
    cost: float | None = 0.0
    """In USD, at the prices of the time; None if the price of a model that was called is not known."""
    accounts: tuple[AccountSpending, ...] = ()

    def sum(self, count: str) -> int:
        """Sum one of the counts of `AccountSpending` over the accounts."""
        return sum(getattr(row, count) for row in self.accounts)


class Projection(BaseModel):
    """The cost of the whole run if its other pairs are like those so far, including failed ones."""

    model_config = ConfigDict(frozen=True)

    num_calls: int
    num_tokens: int
    cost: float | None
    """In USD; None as in `Spending`."""
