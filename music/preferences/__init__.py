"""Reading, writing and splitting of preference data.

`read_preferences` reads a file, a folder or a hub id. It detects the shape of each row (see `music.preferences.shapes`)
and counts every row that it cannot use. `read_seeds` reads the seeds of simulations, and `read_conversations` reads
conversations to score, in the same formats. `split_pairs` holds out whole seed conversations; `seed_key` is the key of
a pair's seed conversation. Names are imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
