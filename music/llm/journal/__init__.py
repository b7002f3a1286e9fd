"""The journal: every reply that was paid for is on disk before it is used, and every failed try that was paid for.

- `journal`: `Journal`, replies by request key, and what they cost; `rows`: as rows; `writer`: how they get to the disk;
  `model`: `JournaledModel`, which replays and journals.
- `database`: the SQLite file, opened and checked or refused; `log`: the check of its write-ahead log.
- `fingerprint`: the run's settings, and what changed in them; `errors`.
"""

from music.llm.journal.errors import ChangedSettingsError, JournalError, JournalLockedError
from music.llm.journal.journal import Journal
from music.llm.journal.model import JournaledModel

__all__ = ["ChangedSettingsError", "Journal", "JournalError", "JournalLockedError", "JournaledModel"]
