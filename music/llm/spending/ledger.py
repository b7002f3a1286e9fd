"""The ledger of a run: the costs of its paid replies and failed tries, and a projection for the whole run.

Each role, judge or weaker model has an account. A charge gets its cost at once, at the prices of the session, and keeps
it. Replayed replies are not charged again. Costs of earlier sessions come as sums from a `SpendingStore`, usually the
run's journal.
"""

from collections.abc import Mapping
from typing import Protocol

from music.llm.chat import ChatReply, TryUsage
from music.llm.spending.budget import FREE, Budget, Price, PriceTable
from music.llm.spending.records import AccountSpending, Charges, Projection, Spending

__all__ = ["Account", "Ledger", "SpendingStore"]

MIN_PAIRS = 5
"""Pairs that must have ended before the whole run is projected from them."""
MIN_UNCOUNTED = 20
"""Replies without token counts from which on a budget cannot be enforced."""


class SpendingStore(Protocol):
    """Keeps charges beyond this process; `music.llm.journal.Journal` is one."""

    def spent(self, account: str) -> Mapping[str, Charges]:
        """Return an account's charges by the model's name in its replies."""
        ...

    def fix_costs(self, account: str, model: str, price: Price) -> None:
        """Set the cost of what was paid for while its price was unknown; known costs stay."""
        ...

    async def charge(self, key: str, account: str, usage: TryUsage, cost: float | None) -> None:
        """Store a paid try that brought no reply."""
        ...


class Ledger:
    """The accounts of one run.

    Args:
        budget: The limits; by default none.
        prices: The prices of the models; by default none.

    Attributes:
        budget: The limits.
        total: The sum over all accounts, including earlier sessions.
        blind: Why the budget cannot be enforced; empty if it can.
    """

    def __init__(self, budget: Budget | None = None, prices: PriceTable | None = None) -> None:
        self.budget = budget or Budget()
        self.total = Charges()
        self.blind = ""
        self._prices = prices or PriceTable()
        self._accounts: list[Account] = []
        self._ended = Charges()
        self._open_pairs: dict[str, Charges] = {}

    def open(self, account: str, endpoint: str, store: SpendingStore | None = None) -> "Account":
        """Open an account.

        Args:
            account: Its name.
            endpoint: The name of its model, `MODEL@BASE_URL` or several of them, separated by commas.
            store: Holds the costs of earlier sessions and of failed tries; None for an account of this process alone.

        Raises:
            InvalidInputError: The budget limits the cost, and the price of a model is not known.
        """
        prices = self._prices.find(endpoint)
        self.budget.check_priced(account, prices)
        opened = Account(account, prices, self, store)
        self._accounts.append(opened)
        self._ended.add(opened.take_over())
        return opened

    def charges_of(self, pair: str) -> Charges:
        """Return the sum for a pair's calls; the sum of ended pairs, which projections use, if `pair` is empty."""
        if not pair:
            return self._ended
        charges = self._open_pairs.get(pair)
        if charges is None:
            charges = self._open_pairs[pair] = Charges()
        return charges

    def exhausted(self) -> str:
        """Return why nothing more may be spent; empty if more may."""
        if not self.budget:
            return ""
        return self.blind or self.budget.reached(self.total.cost, self.total.num_tokens)

    def end_pair(self, index: int) -> None:
        """Move the costs of a pair that ended, complete or failed, to those that projections use."""
        charges = self._open_pairs.pop(str(index), None)
        if charges is not None:
            self._ended.add(charges)

    def project(self, num_wanted: int, num_pairs: int, num_failed: int) -> Projection | None:
        """Project the whole run from the pairs that ended; None while they are too few.

        Pairs in flight are left out. What earlier sessions spent on unfinished pairs counts from the start; it makes up
        for their replies that are only replayed now.
        """
        if not num_pairs or num_pairs + num_failed < MIN_PAIRS:
            return None
        share = num_wanted / num_pairs
        ended = self._ended
        cost = ended.cost * share if self._is_priced else None
        return Projection(
            num_calls=round(ended.num_calls * share), num_tokens=round(ended.num_tokens * share), cost=cost
        )

    def spending(self) -> Spending:
        """Return the costs so far."""
        return Spending(
            num_calls=self.total.num_calls,
            num_tokens=self.total.num_tokens,
            cost=round(self.total.cost, 9) if self._is_priced else None,
            accounts=tuple(row for account in self._accounts for row in account.rows()),
        )

    @property
    def _is_priced(self) -> bool:
        return not self.total.num_unpriced


class Account:
    """The costs of one role; `Ledger.open` creates it.

    Attributes:
        name: The role's name.
    """

    def __init__(
        self, name: str, prices: dict[str, Price | None], ledger: Ledger, store: SpendingStore | None = None
    ) -> None:
        self.name = name
        self._prices = prices
        # Replies that name none of several models are charged as the dearest, so that the budget is not exceeded.
        self._default = max(
            prices, key=lambda model: price.prompt + price.completion if (price := prices[model]) else 0.0
        )
        self._charges = {model: Charges() for model in prices}
        self._ledger = ledger
        self._store = store

    def take_over(self) -> Charges:
        """Add the costs of earlier sessions, at their prices, and return their sum."""
        total = Charges()
        if self._store is None:
            return total
        for model, spent in self._store.spent(self.name).items():
            price = self._price(model)
            if spent.num_unpriced and price is not None:
                self._store.fix_costs(self.name, model, price)
        for model, spent in self._store.spent(self.name).items():
            for charges in (self._charges[self._booked(model)], self._ledger.total, total):
                charges.add(spent)
        return total

    def cost(self, used: ChatReply | TryUsage) -> float | None:
        """Return the cost of a reply or a try in USD at this session's prices; None if its price is not known."""
        price = self._price(used.model)
        return None if price is None else price.cost(used.prompt_tokens, used.completion_tokens, used.cached_tokens)

    def charge(self, pair: str, reply: ChatReply) -> None:
        """Charge a paid reply to a pair's index; empty for none."""
        model = self._booked(reply.model)
        used = (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens, self.cost(reply))
        for charges in (self._charges[model], self._ledger.total, self._ledger.charges_of(pair)):
            charges.add_reply(*used)
        if not reply.prompt_tokens and not reply.completion_tokens:
            self._miss_count(model)

    async def pay(self, pair: str, key: str, usage: TryUsage) -> None:
        """Charge a paid try that brought no reply; return once it is stored.

        Args:
            pair: The pair's index; empty for none.
            key: Identity of the request.
            usage: The tokens that it used.
        """
        used, cost = (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens), self.cost(usage)
        for charges in (self._charges[self._booked(usage.model)], self._ledger.total, self._ledger.charges_of(pair)):
            charges.add_failed_try(*used, cost, usage.is_estimate)
        if self._store is not None:
            await self._store.charge(key, self.name, usage, cost)

    def reuse(self, reply: ChatReply) -> None:
        """Count a reply that came from a cache."""
        for charges in (self._charges[self._booked(reply.model)], self._ledger.total):
            charges.add_reused(reply.prompt_tokens + reply.completion_tokens)

    def rows(self) -> list[AccountSpending]:
        """Return the costs of each model that was called."""
        return [
            AccountSpending.of(self.name, model, charges)
            for model, charges in self._charges.items()
            if charges.num_calls or charges.num_failed_tries or charges.num_reused
        ]

    def _booked(self, model: str) -> str:
        """Return the model of the price list that a reply's model is charged as."""
        return model if model in self._charges else self._default

    def _price(self, model: str) -> Price | None:
        return self._prices[self._booked(model)]

    def _miss_count(self, model: str) -> None:
        """Count a reply without token counts; if most replies have none, the budget cannot be enforced."""
        charges, ledger = self._charges[model], self._ledger
        charges.num_uncounted = num = charges.num_uncounted + 1
        matters = ledger.budget.max_total_tokens is not None or self._prices[model] != FREE
        if matters and num >= max(MIN_UNCOUNTED, charges.num_calls / 2):
            ledger.blind = (
                f"{num} replies of {model!r} (role {self.name}) did not say how many tokens they took, "
                "so the budget cannot be enforced: let the server report usage, or run without a budget"
            )
