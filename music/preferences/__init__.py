"""Preference data: readers into `PreferencePair`, a writer, and splits that do not leak.

`read_preferences` takes a file, a folder or a hub id, finds the shape of each row (`music.preferences.shapes` has the
table), and accounts for every row it cannot use. `read_seeds` reads what conversations start from, and
`read_conversations` what is to be scored, by the same readers. `split_pairs` holds out whole seed conversations, as
`seed_key` names them.
"""

from music.preferences.conversations import is_conversation_file, read_conversations
from music.preferences.problems import Change, RowProblem
from music.preferences.reader import PreferenceSet, RejectedRow, read_preferences
from music.preferences.row_messages import Consecutive
from music.preferences.seeds import Seed, SeedSet, read_seeds
from music.preferences.shapes import Format, parse_format
from music.preferences.split import PairSplit, seed_key, split_pairs
from music.preferences.writer import write_preferences, write_rows

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
