"""Serving a reward model over HTTP: `music serve`.

From the bottom up:

- `config`: `ServingConfig`, the settings of `music serve`.
- `served_model`: `ServedModel`, a loaded reward model and what identifies its scores.
- `items`, `pending`, `batches`: one conversation, one request, and what is scored together.
- `engine`: `ScoringEngine`, which batches the conversations of all requests.
- `protocols`: what clients of each kind send and expect.
- `access`, `metrics`, `openapi`, `logs`: keys, counters, the description of the API, log lines without text.
- `http`, `service`: from an HTTP request to an HTTP response, in any web framework; `reloading`: other checkpoints.
- `server`: the service on aiohttp. `replicas`: the same over several processes, on Ray Serve.
- `parity`: a running server against a model in this process.

Clients use `music.reward.RemoteReward`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
