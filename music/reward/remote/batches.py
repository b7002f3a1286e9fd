"""Which conversations go into one request, and which replica takes it.

A conversation's route is its beginning up to the first user message, which stays as the conversation grows. Each route
has one replica among those that are live (rendezvous hashing), so that successive turns and the candidates of one
history find their beginnings in that replica's prefix cache. When a replica goes down or comes back, only its routes
move.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from music.conversation import Conversation

__all__ = ["Batch", "home_of", "make_batches"]

_HASH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Batch:
    """The conversations of one request.

    Attributes:
        conversations: The conversations.
        indices: Their places in the call.
        route: The first one's route.
    """

    conversations: tuple[Conversation, ...]
    indices: tuple[int, ...]
    route: str

    def halves(self) -> tuple["Batch", "Batch"]:
        """Return the batch in two parts."""
        middle = len(self.indices) // 2
        first = Batch(self.conversations[:middle], self.indices[:middle], self.route)
        return first, Batch(self.conversations[middle:], self.indices[middle:], self.route)


def make_batches(
    conversations: Sequence[Conversation], servers: Sequence[str], *, max_size: int, max_chars: int
) -> list[Batch]:
    """Return batches of conversations of the same replica; those of one route stay together, in their order.

    Args:
        conversations: The conversations of a call.
        servers: The names of the live replicas.
        max_size: Most conversations of a batch.
        max_chars: Most characters of a batch of several conversations; a history counts once for its candidates.
    """
    places: dict[str, list[int]] = {}
    for index, conversation in enumerate(conversations):
        places.setdefault(_route(conversation), []).append(index)
    homes: dict[str, list[str]] = {}
    for route in places:
        homes.setdefault(home_of(route, servers), []).append(route)
    return [
        batch
        for routes in homes.values()
        for batch in _cut(
            [(route, index) for route in routes for index in places[route]], conversations, max_size, max_chars
        )
    ]


def home_of(route: str, servers: Sequence[str]) -> str:
    """Return the name of the replica that takes a route."""
    if len(servers) == 1:
        return servers[0]
    return max(servers, key=lambda name: blake2b(f"{name}\0{route}".encode(), digest_size=_HASH_BYTES).digest())


def _route(conversation: Conversation) -> str:
    """Return the contents up to the first user message."""
    return "\0".join(message.content for message in conversation.messages[: 1 + int(conversation.has_system)])


def _cut(
    order: Sequence[tuple[str, int]], conversations: Sequence[Conversation], max_size: int, max_chars: int
) -> Iterator[Batch]:
    """Yield batches of conversations in an order of routes and indices."""
    start, num_chars = 0, 0
    for end, (_, index) in enumerate(order):
        before = conversations[order[end - 1][1]] if end > start else None
        added = _num_chars(conversations[index], before)
        if end > start and (end - start == max_size or num_chars + added > max_chars):
            yield _batch(order[start:end], conversations)
            start, num_chars, added = end, 0, _num_chars(conversations[index], None)
        num_chars += added
    if order:
        yield _batch(order[start:], conversations)


def _batch(part: Sequence[tuple[str, int]], conversations: Sequence[Conversation]) -> Batch:
    indices = tuple(index for _, index in part)
    return Batch(tuple(conversations[index] for index in indices), indices, part[0][0])


def _num_chars(conversation: Conversation, before: Conversation | None) -> int:
    """Return the characters that a conversation adds to a batch after another one."""
    if before is not None and before.messages[:-1] == conversation.messages[:-1]:
        return len(conversation.messages[-1].content)
    return sum(len(message.content) for message in conversation.messages)
