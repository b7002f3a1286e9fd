"""Language models, behind one protocol.

- `chat`: the vocabulary: request, reply, the `ChatModel` protocol and its errors.
- `endpoints`: `load_model`, from what a user writes to a model; `options`: request options as users write them.
- `openai`: the HTTP client of OpenAI-compatible servers, with `http` (requests and connections), `connection` (keys,
  headers and query strings), `field_support` (which fields a server takes), `completion` and `choice` (reading
  replies), `server_errors`, `retry` (when a failed try is repeated) and `retry_after` (how long servers ask to wait).
- `pacing`: how fast an endpoint is asked, within its `rate_limits`; `replicas`: several servers of one model.
- `local`: transformers in this process.
- `reading`: from what a model wrote to what it says, with `thinking` and `sanitise`; `logprobs`: of a reply's tokens.
- `journal`: every reply on disk before it is used, replayed on the next run; `cache`: no question is paid for twice.
- `spending`: prices, budgets and what was spent; `estimates`: what was used where the endpoint does not say.

Models are combined by composition: a wrapper takes a `ChatModel` and is one. Names are imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
