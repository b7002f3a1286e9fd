"""Prices of models, and the budget of a run.

Prices are in USD per million tokens, as vendors write them. A model's name is the part before the `@` of an endpoint.
Models that are not behind HTTP (`sandbox`, `local:...`) are free.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from music.errors import InvalidInputError

__all__ = ["FREE", "Budget", "Price", "PriceTable"]

ANY_MODEL = "*"
_SERVED = re.compile(r"(.+)@https?://.*", re.IGNORECASE | re.DOTALL)
_FORM = (
    "MODEL=PROMPT:COMPLETION or MODEL=PROMPT:COMPLETION:CACHED in USD per million tokens, "
    "for example gemma-2-9b-it=0.15:0.60 (MODEL may be *)"
)
_DUST = 1e-9
"""Tolerance for rounding in sums of costs, in USD."""


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price, in USD per million tokens.

    Attributes:
        prompt: Price of prompt tokens.
        completion: Price of completion tokens.
        cached: Price of prompt tokens that the endpoint read from its cache; None for no discount.
    """

    prompt: float
    completion: float
    cached: float | None = None

    @property
    def cached_prompt(self) -> float:
        """The price of cached prompt tokens."""
        return self.prompt if self.cached is None else self.cached

    def cost(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """Return the cost in USD of these numbers of tokens; the prompt's include the cached ones."""
        fresh = self.prompt * (prompt_tokens - cached_tokens) + self.cached_prompt * cached_tokens
        return (fresh + self.completion * completion_tokens) * 1e-6


FREE = Price(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices by model name; `*` is the price of all others."""

    prices: Mapping[str, Price] = field(default_factory=dict)

    @classmethod
    def parse(cls, entries: Iterable[str]) -> Self:
        """Read entries like `gemma-2-9b-it=0.15:0.60`.

        Raises:
            InvalidInputError: An entry has another form, or a model has two.
        """
        prices: dict[str, Price] = {}
        for entry in entries:
            model, price = _parse_entry(entry)
            if model in prices:
                raise InvalidInputError(f"expected one price a model, got two of {model!r}: remove one")
            prices[model] = price
        return cls(prices)

    def find(self, endpoint: str) -> dict[str, Price | None]:
        """Return the prices of an endpoint's models by name, None for an unknown price; replicas may share a model."""
        models = models_of(endpoint)
        if models == (endpoint,):
            return {endpoint: FREE}
        return {model: self.prices.get(model, self.prices.get(ANY_MODEL)) for model in models}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits on the paid replies of a run, including those of its earlier sessions.

    Attributes:
        max_cost: Most USD; None for no limit.
        max_total_tokens: Most prompt and completion tokens together; None for no limit.
        flags: Prefix of the flags that set it, for messages.
    """

    max_cost: float | None = None
    max_total_tokens: int | None = None
    flags: str = "--"

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return self.max_cost is not None or self.max_total_tokens is not None

    def reached(self, cost: float, num_tokens: int) -> str:
        """Return a message about the limit that is reached; empty if none is."""
        if self.max_cost is not None and cost >= self.max_cost - _DUST:
            return f"{cost:.2f} USD are spent of {self.flags}max-cost {self.max_cost:.2f}"
        if self.max_total_tokens is not None and num_tokens >= self.max_total_tokens:
            return f"{num_tokens:,} tokens are spent of {self.flags}max-total-tokens {self.max_total_tokens:,}"
        return ""

    def check_priced(self, account: str, prices: Mapping[str, Price | None]) -> None:
        """Refuse a limit of the cost if a price is unknown.

        Raises:
            InvalidInputError: The price of one of the account's models is not known; the message says what to add.
        """
        unknown = [model for model, price in prices.items() if price is None]
        if unknown and self.max_cost is not None:
            raise InvalidInputError(
                f"{self.flags}max-cost: expected a price of every model, got none of {unknown[0]!r} (role {account}): "
                f"add {self.flags}price '{unknown[0]}=PROMPT:COMPLETION' in USD per million tokens, or "
                f"{self.flags}price '*=...' for all others"
            )


def models_of(endpoint: str) -> tuple[str, ...]:
    """Return the models that an endpoint's replicas serve, each once; an endpoint without HTTP is its own model."""
    served = [_SERVED.fullmatch(part.strip()) for part in endpoint.split(",")]
    return tuple(dict.fromkeys(part[1] for part in served if part)) if all(served) else (endpoint,)


def _parse_entry(entry: str) -> tuple[str, Price]:
    """Read one entry of a price table."""
    model, _, price = entry.rpartition("=")
    try:
        values = [float(value) for value in price.split(":")]
    except ValueError:
        values = []
    if not model or len(values) not in (2, 3) or not all(math.isfinite(value) and value >= 0 for value in values):
        raise InvalidInputError(f"expected {_FORM}, got {entry!r}")
    return model, Price(*values)
