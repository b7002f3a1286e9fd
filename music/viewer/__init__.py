"""Looking at conversations in the browser: `music view`.

From the bottom up:

- `records`: `Record`, one thing to look at. `turns`, `differences`: its sides turn by turn and word by word.
- `rows`, `sources`: from files to records.
- `database`, `indexing`, `background`: the index in the user's cache, and the process that keeps it up to date.
- `query`, `index`: `Query`, what a list shows, and `Index`, which finds it.
- `views`, `pages`: from records to HTML, without a server.
- `server`: the pages on aiohttp.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
