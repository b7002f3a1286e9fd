"""Serving a reward model over HTTP: `music serve`.

From the bottom up:

- `music.serving.config`: `ServingConfig`, what `music serve` is told.
- `music.serving.served_model`: `ServedModel`, a loaded reward model and what identifies its scores.
- `music.serving.engine`: `ScoringEngine`, which batches the conversations of all requests.
- `music.serving.protocols`: what clients of each kind send and expect.
- `music.serving.access`, `metrics`, `openapi`, `reloading`: API keys, counts, the API's description, new checkpoints.
- `music.serving.http`: `HttpService`, from an HTTP request to an HTTP response, whatever the web framework.
- `music.serving.service`: `ScoringService`, which answers with the model in this process.
- `music.serving.server`: a service on aiohttp.
- `music.serving.replicas`: the same server with a model in each of several processes, on Ray Serve (`--ray`).

Clients use `music.reward.RemoteReward`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
