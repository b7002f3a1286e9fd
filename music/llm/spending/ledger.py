"""The ledger of a run: what its paid replies and failed tries cost, and what the whole run will cost.

An account is a role's, or that of a judge or of a weaker model. A charge gets its cost at once, at the prices of the
session, and keeps it. Replayed replies are not paid for again and never get here; those of earlier sessions come in as
sums from a `SpendingStore`, as a rule the run's journal.
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
"""Replies without token counts that a budget bears with."""


class SpendingStore(Protocol):
    """Keeps charges beyond this process; `music.llm.journal.Journal` is one."""

    def spent(self, account: str) -> Mapping[str, Charges]:
        """Return what an account was charged by model, as the replies name it."""
        ...

    def fix_costs(self, account: str, model: str, price: Price) -> None:
        """Value what was paid for when its price was not known; what has a cost keeps it."""
        ...

    async def charge(self, key: str, account: str, usage: TryUsage, cost: float | None) -> None:
        """Write down a failed try that is paid for."""
        ...


class Ledger:
    """The accounts of one run.

    Args:
        budget: What may be spent; by default anything.
        prices: Of the models; by default of none.

    Attributes:
        budget: What may be spent.
        total: Of all accounts, earlier sessions included.
        blind: Why the budget cannot be kept; empty if it can.
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
            store: What earlier sessions spent under this name, and where failed tries are written down; None for
                an account that lasts as long as this process.

        Raises:
            InvalidInputError: The budget bounds the cost, and the price of a model is not known.
        """
        prices = self._prices.find(endpoint)
        self.budget.check_priced(account, prices)
        opened = Account(account, prices, self, store)
        self._accounts.append(opened)
        self._ended.add(opened.take_over())
        return opened

    def charges_of(self, pair: str) -> Charges:
        """Return the sum that a pair's calls enter; that of ended pairs, which count in projections, if it is empty."""
        if not pair:
            return self._ended
        charges = self._open_pairs.get(pair)
        if charges is None:
            charges = self._open_pairs[pair] = Charges()
        return charges

    def exhausted(self) -> str:
        """Say why nothing more may be spent; nothing if more may."""
        if not self.budget:
            return ""
        return self.blind or self.budget.reached(self.total.cost, self.total.num_tokens)

    def end_pair(self, index: int) -> None:
        """Settle a pair that ended, whole or failed: from now on it counts in projections."""
        charges = self._open_pairs.pop(str(index), None)
        if charges is not None:
            self._ended.add(charges)

    def project(self, num_wanted: int, num_pairs: int, num_failed: int) -> Projection | None:
        """Project the whole run from the pairs that ended; None while they are too few.

        Pairs in flight are left out, except what earlier sessions spent on pairs that they did not end: it counts from
        the start, and makes up for replies that are only replayed now.
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
        """Return what was spent so far."""
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
    """What one role spends; `Ledger.open` makes it.

    Attributes:
        name: The role's.
    """

    def __init__(
        self, name: str, prices: dict[str, Price | None], ledger: Ledger, store: SpendingStore | None = None
    ) -> None:
        self.name = name
        self._prices = prices
        # What does not name one of several models is booked under the dearest: a budget must not be passed unseen.
        self._default = max(
            prices, key=lambda model: price.prompt + price.completion if (price := prices[model]) else 0.0
        )
        self._charges = {model: Charges() for model in prices}
        self._ledger = ledger
        self._store = store

    def take_over(self) -> Charges:
        """Enter what earlier sessions spent, at what it cost then, and return its sum."""
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
        """Return what a reply or a try costs in USD at the prices of this session; None if its price is not known."""
        price = self._price(used.model)
        return None if price is None else price.cost(used.prompt_tokens, used.completion_tokens, used.cached_tokens)

    def charge(self, pair: str, reply: ChatReply) -> None:
        """Book a reply that was paid for under a pair's index; empty for none."""
        model = self._booked(reply.model)
        used = (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens, self.cost(reply))
        for charges in (self._charges[model], self._ledger.total, self._ledger.charges_of(pair)):
            charges.add_reply(*used)
        if not reply.prompt_tokens and not reply.completion_tokens:
            self._miss_count(model)

    async def pay(self, pair: str, key: str, usage: TryUsage) -> None:
        """Book a try that brought no reply and is paid for; return once that is on record.

        Args:
            pair: The pair's index; empty for none.
            key: Of the request.
            usage: What it used.
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
        """Return what was spent on each model that was called."""
        return [
            AccountSpending.of(self.name, model, charges)
            for model, charges in self._charges.items()
            if charges.num_calls or charges.num_failed_tries or charges.num_reused
        ]

    def _booked(self, model: str) -> str:
        """Return the model of the price list under which one is booked."""
        return model if model in self._charges else self._default

    def _price(self, model: str) -> Price | None:
        return self._prices[self._booked(model)]

    def _miss_count(self, model: str) -> None:
        """Note a reply without token counts; most of an account's replies being so blinds the budget."""
        charges, ledger = self._charges[model], self._ledger
        charges.num_uncounted = num = charges.num_uncounted + 1
        matters = ledger.budget.max_total_tokens is not None or self._prices[model] != FREE
        if matters and num >= max(MIN_UNCOUNTED, charges.num_calls / 2):
            ledger.blind = (
                f"{num} replies of {model!r} (role {self.name}) did not say how many tokens they took, "
                "so the budget cannot be kept: let the server report usage, or run without a budget"
            )
