"""One reward server with a model in each of several processes, on Ray Serve: `music serve --ray`.

- `config`: `ReplicaConfig`, how many replicas there are.
- `front`: `ReplicaFront`, which takes all requests and hands each to a replica.
- `route`: the beginning of a conversation, which stays with one replica.
- `replica`: `RewardReplica`, a model in a worker process, and `ReplicaSet`, all of them; these modules need Ray.
- `router`: which replica takes a request.
- `run`: joins a cluster, starts the replicas, and serves.
"""
