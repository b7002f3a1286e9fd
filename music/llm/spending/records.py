"""What a run spent and will spend, as records for `run.json` and for the display."""

from pydantic import BaseModel, ConfigDict

__all__ = ["AccountSpending", "Projection", "Spending"]


class AccountSpending(BaseModel):
    """What one account spent on one model."""

    model_config = ConfigDict(frozen=True)

    account: str
    """A role, for example `user` or `judge`."""
    model: str
    """As the endpoint's specification names it."""
    num_calls: int
    """Replies that were paid for."""
    prompt_tokens: int
    """Of replies and of failed tries that are paid for; likewise the next three."""
    completion_tokens: int
    cached_tokens: int = 0
    """Of the prompt tokens, those that the endpoint read from its cache."""
    cost: float | None
    """In USD, at the prices of the time; None if a price was not known."""
    num_uncounted: int = 0
    """Replies of this session that did not say how many tokens they took, and so stand here with none."""
    num_failed_tries: int = 0
    """Tries that brought no reply and are paid for all the same: time-outs, broken and useless bodies."""
    num_estimated: int = 0
    """Of them, those whose tokens the endpoint did not say, and so are an estimate."""
    estimated_tokens: int = 0
    """What those come to."""
    num_reused: int = 0
    """Replies that came from a cache of earlier runs; they are not paid for and in no other figure."""
    reused_tokens: int = 0
    """What they came to when they were paid for."""


class Spending(BaseModel):
    """What all paid replies and failed tries of a run came to."""

    model_config = ConfigDict(frozen=True)

    num_calls: int = 0
    num_tokens: int = 0
    """Prompt and completion tokens together."""
    cost: float | None = 0.0
    """In USD, at the prices of the time; None if the price of a model that was called is not known."""
    accounts: tuple[AccountSpending, ...] = ()

    def sum(self, count: str) -> int:
        """Add one of the counts of `AccountSpending` up over the accounts."""
        return sum(getattr(row, count) for row in self.accounts)


class Projection(BaseModel):
    """What the whole run will come to if its pairs go on as they did, failed ones included."""

    model_config = ConfigDict(frozen=True)

    num_calls: int
    num_tokens: int
    cost: float | None
    """In USD; None as in `Spending`."""
