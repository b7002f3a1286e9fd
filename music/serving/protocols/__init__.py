"""What clients of each kind send and expect; see `music.serving.protocols.base` for what a protocol is."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
