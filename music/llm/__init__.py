"""Language models, behind one protocol.

- `chat`: the request, the reply, the `ChatModel` protocol and its errors.
- `endpoints`: `load_model`, which loads a model by its specification; `options`: request options as users write them.
- `openai`: the HTTP client of OpenAI-compatible servers, with `settings`, `http` (requests and connections),
  `connection` (keys, headers and query strings), `field_support` (which fields a server accepts), `completion` and
  `choice` (reading replies), `server_errors`, `retry` (when a failed try is repeated) and `retry_after` (how long
  servers ask to wait).
- `pacing`: how fast requests are sent, within `rate_limits`; `replicas`: several servers of one model, with `health`:
  which of them are down.
- `local`: transformers models in this process.
- `reading`: the answer in a model's raw text, with `thinking` and `sanitise`; `logprobs`: of a reply's tokens.
- `journal`: every reply on disk before it is used, and replayed on the next run; `cache`: replies shared by runs.
- `spending`: prices, budgets and costs; `estimates`: token counts where the endpoint reports none.

Models are combined by composition: a wrapper takes a `ChatModel` and is one. Names are imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
