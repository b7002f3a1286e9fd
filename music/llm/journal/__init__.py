"""The journal: every paid reply is on disk before it is used, and so is every paid try that failed.

- `journal`: `Journal`, replies by request key and their costs; `JournaledModel`, which replays and journals.
- `tables`: replies and tries as rows, and their sums; `writer`: writes rows to the disk.
- `database`: opens and checks the SQLite file, and compares the run's settings; `log`: checks its write-ahead log.
- `errors`: the errors of a journal.
"""

from music.llm.journal.errors import ChangedSettingsError, JournalError, JournalLockedError
from music.llm.journal.journal import Journal, JournaledModel

__all__ = ["ChangedSettingsError", "Journal", "JournalError", "JournalLockedError", "JournaledModel"]
