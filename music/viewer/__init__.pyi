from .index import Index as Index
from .indexing import IndexWriter as IndexWriter
from .query import Query as Query
from .records import Kind as Kind
from .records import Record as Record
from .records import Side as Side

__all__ = ["Index", "IndexWriter", "Kind", "Query", "Record", "Side"]
