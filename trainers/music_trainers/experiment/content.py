"""`GridContent`: what the files of a grid hold, checked before anything is computed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from music.errors import InvalidInputError
from music.files import replace_file
from music_trainers.experiment.arm import ArmSettings
from music_trainers.experiment.grid import Grid
from music_trainers.experiment.measures import MeasureAccount, MeasureInfo, MeasureItems, forget_measures, read_measure
from music_trainers.experiment.sandbox import sandbox_infos
from music_trainers.experiment.sources import conversation_key, forget_sources, pair_key, read_source

__all__ = ["DataRecord", "GridContent"]

_SHOWN = 5
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model")


class DataRecord(BaseModel):
    """What was read, `NAME-data.json`."""

    model_config = ConfigDict(frozen=True)

    num_pairs: dict[str, int]
    """Number of pairs by source of files."""
    measures: dict[str, MeasureAccount]
    """By measure of files."""
    hashes: dict[str, str]
    """A hash of the content, by TOML key."""


@dataclass(frozen=True, slots=True)
class GridContent:
    """What the files of a grid hold.

    Attributes:
        infos: All measures, in the order of reports.
        record: What was read.
    """

    infos: list[MeasureInfo]
    record: DataRecord

    @classmethod
    def read(cls, grid: Grid) -> "GridContent":
        """Read the files of a grid.

        Raises:
            InvalidInputError: A file cannot be read, a measure has no item, or an arm asks for more pairs than there
                are; the message names the TOML key.
        """
        forget_sources()
        forget_measures()
        sources = {name: read_source(name, source) for name, source in grid.sources.items()}
        num_pairs = {name: len(read.pairs) for name, read in sources.items()}
        for arm in {arm.name: arm for arm in grid.runs().values()}.values():
            _require_pairs(grid, arm.name, arm.settings, num_pairs)
        measures = {name: read_measure(name, measure) for name, measure in grid.measures.items()}
        hashes = {
            **({"model.base": _hash_of_model(grid.model.base)} if grid.model else {}),
            **{f"sources.{name}": _hash(map(pair_key, read.pairs)) for name, read in sources.items()},
            **{f"measures.{name}": _hash_of_items(read) for name, read in measures.items()},
        }
        infos = [*(sandbox_infos(grid.sandbox) if grid.sandbox else ()), *(read.info for read in measures.values())]
        accounts = {name: read.account for name, read in measures.items()}
        return cls(infos, DataRecord(num_pairs=num_pairs, measures=accounts, hashes=hashes))

    def notices(self) -> Iterator[str]:
        """Yield a line on each source and measure of files."""
        for name, num in self.record.num_pairs.items():
            yield f"sources.{name}: {num:,} pairs"
        for name, account in self.record.measures.items():
            line = f"measures.{name}: {account.num_items:,} items of {account.num_prompts:,} prompts"
            if account.without_order:
                ids = ", ".join(account.without_order[:_SHOWN]) + (
                    ", ..." if len(account.without_order) > _SHOWN else ""
                )
                line += f"; left out because their labels do not differ: {len(account.without_order)} ({ids})"
            unusable = ", ".join(f"{reason} {num}" for reason, num in account.unusable_rows.items())
            yield line + (f"; rows without an item: {unusable}" if unusable else "")

    def write(self, path: Path) -> None:
        """Write the record."""
        replace_file(path, self.record.model_dump_json(indent=1) + "\n")


def _require_pairs(grid: Grid, arm: str, settings: ArmSettings, num_pairs: dict[str, int]) -> None:
    for name, num in settings.pairs.items():
        if name in num_pairs and num > num_pairs[name]:
            raise InvalidInputError(
                f"arms.{arm}.pairs.{name}: expected at most {num_pairs[name]:,} pairs, as many as are in "
                f"{grid.sources[name].named}; got {num:,}"
            )


def _hash(parts: Iterable[bytes]) -> str:
    return blake2b(b"".join(parts), digest_size=8).hexdigest()


def _hash_of_items(read: MeasureItems) -> str:
    """Return a hash of ids, completions and labels."""
    return _hash(
        part
        for item in read.items
        for part in (item.id.encode(), str(item.labels).encode(), *map(conversation_key, item.completions))
    )


def _hash_of_model(base: str) -> str:
    """Return a hash of the files of a model in a folder; that of a hub id is empty."""
    digest = blake2b(digest_size=8)
    for path in sorted(path for pattern in _MODEL_FILES for path in Path(base).glob(pattern)):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()
