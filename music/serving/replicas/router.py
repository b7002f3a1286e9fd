"""`StickyRouter`: successive requests of one conversation go to one replica, whose prefix cache knows its beginning."""

from hashlib import blake2b

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

__all__ = ["StickyRouter"]

_HASH_BYTES = 8


class StickyRouter(RequestRouter):
    """Ranks the replicas for each route by rendezvous hashing.

    If the first replica is full or does not answer, the second takes the request, and so on. When a replica comes or
    goes, only its own routes move.
    """

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return the replicas, the best first. The route is the request's argument of that name."""
        route = ""
        if pending_request is not None:
            route = pending_request.kwargs.get("route", "")
            # Ray Serve reads this after all replicas were full: it waits before it asks again.
            pending_request.routing_context.should_backoff = True

        def weight(replica: RunningReplica) -> bytes:
            name = f"{replica.replica_id.unique_id}\0{route}"
            return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest()

        return [[replica] for replica in sorted(candidate_replicas, key=weight, reverse=True)]
