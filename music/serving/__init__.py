"""Serving a reward model over HTTP: `music serve`.

From the bottom up:

- `music.serving.config`: `ServingConfig`, what `music serve` is told.
- `music.serving.served_model`: `ServedModel`, a loaded reward model and what identifies its scores.
- `music.serving.engine`: `ScoringEngine`, which batches the conversations of all requests.
- `music.serving.protocols`: what clients of each kind send and expect.
- `music.serving.http`: `HttpService`, from an HTTP request to an HTTP response, whatever the web framework.
- `music.serving.service`: `ScoringService`, which answers with the model in this process.
- `music.serving.server`: the service on aiohttp.

Clients use `music.reward.RemoteReward`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
