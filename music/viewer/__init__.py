"""Looking at conversations in the browser: `music view`.

From the bottom up:

- `records`: `Record`, one thing to look at. `turns`, `differences`: its sides turn by turn and word by word.
- `rows`, `sources`, `batches`: from files to records.
- `database`: the tables of the index in the user's cache. Written by `indexing`; kept up to date by `refresh` and, in a
  process of its own, `background`.
- `query`, `query_sql`, `index`: `Query`, what a list shows, and `Index`, which finds it.
- `labels`, `agreement`, `export`: what people think of pairs. `rewards`, `scores`, `scoring`: what models think.
- `views`, `rendering`, `list_page`, `record_page`, `run_page`, `static_page`: from records to HTML, without a server.
- `addresses`, `list_handlers`, `record_handlers`, `label_handlers`, `app`: who answers which address.
- `server`, `commands`, `selection`: what `music view` does.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
