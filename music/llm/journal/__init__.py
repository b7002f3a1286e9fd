"""The journal: every reply that was paid for is on disk before it is used, and every failed try that was paid for.

- `journal`: `Journal`, replies by request key and what they cost; `JournaledModel`, which replays and journals.
- `tables`: replies and tries as rows, and their sums; `writer`: how rows get to the disk.
- `database`: the SQLite file, opened and checked or refused, and the run's settings; `log`: the check of its
  write-ahead log; `errors`.
"""

from music.llm.journal.errors import ChangedSettingsError, JournalError, JournalLockedError
from music.llm.journal.journal import Journal, JournaledModel

__all__ = ["ChangedSettingsError", "Journal", "JournalError", "JournalLockedError", "JournaledModel"]
