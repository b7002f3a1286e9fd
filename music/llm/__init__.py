"""Language models, behind one protocol.

- `chat`: the vocabulary: request, reply, the `ChatModel` protocol and its errors.
- `endpoints`: `load_model`, from what a user writes to a model.
- `openai`: the HTTP client of OpenAI-compatible servers, on `terms` (what an endpoint takes, and how requests are
  written for it), `posting` (requests and their errors), `refusals` (which field a server refuses), `http`
  (connections), `keys` (API keys), `connection` (headers and query strings), `retry` (when a failed try is repeated),
  `moments` (what servers say of time) and `completion` (reading replies).
- `options`: request options as users write them.
- `pacing`: how fast an endpoint is asked, on `throttle` (what 429s teach), `quota` (limits per minute) and `bucket`.
- `replicas`: several servers of one model.
- `local`: transformers in this process.
- `journal`: every reply on disk before it is used, replayed on the next run.
- `remembering`: the same question is asked once in a run; `cache`: once by all runs that share a file; `digests`: what
  the same question is; `logprobs`: of a reply's tokens.
- `spending`: prices, budgets and what was spent; `estimates`: what was used where the endpoint does not say.

Models are combined by composition: a wrapper takes a `ChatModel` and is one. Names are imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
