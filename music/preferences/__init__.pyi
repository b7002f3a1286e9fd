from .conversations import is_conversation_file, read_conversations
from .problems import Change, RowProblem
from .reader import PreferenceSet, RejectedRow, read_preferences
from .row_messages import Consecutive
from .seeds import Seed, SeedSet, read_seeds
from .shapes import Format, parse_format
from .split import PairSplit, seed_key, split_pairs
from .writer import write_preferences, write_rows

__all__ = [
    "Change",
    "Consecutive",
    "Format",
    "PairSplit",
    "PreferenceSet",
    "RejectedRow",
    "RowProblem",
    "Seed",
    "SeedSet",
    "is_conversation_file",
    "parse_format",
    "read_conversations",
    "read_preferences",
    "read_seeds",
    "seed_key",
    "split_pairs",
    "write_preferences",
    "write_rows",
]
