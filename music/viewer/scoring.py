"""`Scorers`: threads that score the pairs of an index while the server answers, the pair that is open first.

Each model has a thread of its own, so that a slow server delays no other model. Batches grow while they take less than
half a second, so a pair that is opened waits for little.
"""

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from music.errors import InvalidInputError, MusicError
from music.viewer.records import Record
from music.viewer.rewards import RewardSource
from music.viewer.scores import ScoreStore

__all__ = ["Scorer", "Scorers", "score_pairs"]

_BATCH_SECONDS = 0.5
_MAX_BATCH = 1000
_IDLE_SECONDS = 1.0
_CLOSE_SECONDS = 2.0
_PAIRS_AT_ONCE = 16
_RETRY_SECONDS = 5.0
_MOST_URGENT = 200
_NICENESS = 5


class Scorer:
    """Scores pairs with one model.

    Args:
        source: The model.
        path: The file of the index.
    """

    def __init__(self, source: RewardSource, path: Path) -> None:
        self.name = source.name
        self.fingerprint = ""
        self.problem = ""
        """Why it does not score now; empty for none."""
        self.num_scored = 0
        """Pairs that it has scored, those of earlier starts included."""
        self.is_done = False
        """Whether all pairs of the index are scored."""
        self._source, self._path = source, path
        self._urgent: list[str] = []
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._size = source.batch_size
        self._last = 0  # all records of the files up to this number are scored
        self._is_new, self._compare_at = False, 0.0

    @property
    def state(self) -> str:
        """What it does now, in words."""
        return self.problem or ("is scored …" if self.fingerprint else "the model is loaded …")

    def first(self, keys: Sequence[str]) -> None:
        """Score these records before others, in this order."""
        with self._lock:
            self._urgent = list(dict.fromkeys([*keys, *self._urgent]))[:_MOST_URGENT]
        self._wake.set()

    def run(self, stop: threading.Event, group: Sequence["Scorer"]) -> None:
        """Score until told to stop.

        Args:
            stop: Set at the end.
            group: All scorers of the index, whose margins are compared.
        """
        with suppress(OSError, AttributeError):  # pages come first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        with closing(ScoreStore(self._path)) as store:
            if not self._load(stop):
                return
            self.num_scored = store.publish(self.name, self.fingerprint)
            while not stop.is_set():
                batch, end = self._batch(store)
                self.is_done = not batch
                if batch and self._score(store, batch, stop):
                    self._last = end
                self._compare(store, group)
                if not batch:
                    self._wake.wait(_IDLE_SECONDS)
                    self._wake.clear()

    def _batch(self, store: ScoreStore) -> tuple[dict[str, Record], int]:
        """Return the pairs to score next by text key, those that are looked at or else the next of the files.

        The number is the one up to which all records of the files are scored then.
        """
        with self._lock:
            urgent, self._urgent = self._urgent[: self._size], self._urgent[self._size :]
        if found := store.pairs(urgent, self.fingerprint):
            return dict(found), self._last
        rows = store.unscored(self.fingerprint, self._last, self._size)
        return {key: record for _, key, record in rows}, rows[-1][0] if rows else self._last

    def _score(self, store: ScoreStore, batch: Mapping[str, Record], stop: threading.Event) -> bool:
        """Score pairs and grow or shrink the next batch; return whether there was an answer."""
        began = time.monotonic()
        try:
            rewards = self._source.score(list(batch.values()))
        except MusicError as error:
            self.problem = str(error)
            stop.wait(_RETRY_SECONDS)
            return False
        store.add(self.name, self.fingerprint, dict(zip(batch, rewards, strict=True)))
        self.problem, self._is_new = "", True
        self.num_scored += len(batch)
        seconds = time.monotonic() - began
        self._size = min(2 * self._size, _MAX_BATCH) if seconds < _BATCH_SECONDS else max(1, self._size // 2)
        return True

    def _compare(self, store: ScoreStore, group: Sequence["Scorer"]) -> None:
        """Compare all models after new rewards; while scoring goes on, for a twentieth of the time."""
        if self._is_new and (self.is_done or time.monotonic() > self._compare_at):
            began, self._is_new = time.monotonic(), False
            store.compare([each.name for each in group])
            self._compare_at = time.monotonic() + max(1.0, 20 * (time.monotonic() - began))

    def _load(self, stop: threading.Event) -> bool:
        """Load the model; a server that does not answer is tried again."""
        while not stop.is_set():
            try:
                self.fingerprint = _load(self._source)
            except InvalidInputError as error:
                self.problem = str(error)
                return False
            except MusicError as error:
                self.problem = str(error)
                stop.wait(_RETRY_SECONDS)
            else:
                self.problem = ""
                return True
        return False


class Scorers:
    """The scorers of all models of a viewer.

    Args:
        sources: The models, whose names must differ.
        path: The file of the index.
    """

    def __init__(self, sources: Sequence[RewardSource] = (), path: Path = Path()) -> None:
        self.all = tuple(Scorer(source, path) for source in sources)

    def first(self, keys: Sequence[str]) -> None:
        """Score these records before others, in this order."""
        for each in self.all:
            each.first(keys)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Score in the background during the block."""
        stop = threading.Event()
        threads = [threading.Thread(target=each.run, args=(stop, self.all), daemon=True) for each in self.all]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            self.first([])  # wakes them
            for thread in threads:
                thread.join(_CLOSE_SECONDS)


def _load(source: RewardSource) -> str:
    """Load a model; return its fingerprint with its name, since two names of one model have margins of their own."""
    return f"{source.load()} {source.name}"


def score_pairs(source: RewardSource, path: Path, keys: Sequence[str]) -> str:
    """Score some pairs of an index now, those that have no rewards yet; return the model's fingerprint.

    Raises:
        MusicError: The model cannot be loaded, or gives no rewards.
    """
    with closing(ScoreStore(path)) as store:
        fingerprint = _load(source)
        store.publish(source.name, fingerprint)
        for some in (keys[start : start + _PAIRS_AT_ONCE] for start in range(0, len(keys), _PAIRS_AT_ONCE)):
            if batch := dict(store.pairs(some, fingerprint)):
                rewards = source.score(list(batch.values()))
                store.add(source.name, fingerprint, dict(zip(batch, rewards, strict=True)))
    return fingerprint
