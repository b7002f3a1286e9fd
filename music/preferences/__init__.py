"""Preference data: readers into `PreferencePair`, a writer, and splits that do not leak.

`read_preferences` takes a file, a folder or a hub id, finds the shape of each row (`music.preferences.shapes` has the
table), and accounts for every row that it cannot use. `read_seeds` reads what conversations start from, and
`read_conversations` what is to be scored, by the same readers. `split_pairs` holds out whole seed conversations, as
`seed_key` names them. Names are imported on first use.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
