"""The sandbox behind a real, OpenAI-compatible HTTP server, with latency and faults on demand.

`serve` runs it in this process, `sandbox_server` in a process of its own for as long as a `with` block lasts, as
`ServerConfig` says. `service` is the application, `wire` its requests and answers, `faults` what it does wrong.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
