"""The sandbox behind an OpenAI-compatible HTTP server, with latency and faults on demand.

`serve` runs the server in this process; `sandbox_server` runs it in its own process during a `with` block. Both take a
`ServerConfig`. `service` is the application, `wire` its requests and responses, `faults` its latency and faults.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
