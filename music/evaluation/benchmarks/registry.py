"""Finds benchmarks by name, and reads their files: every row becomes items, or is counted as left out.

Benchmarks come from this package, from `register_benchmark`, and from the entry points of installed packages.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from typing import TypeVar

from music.errors import InvalidInputError
from music.evaluation.benchmarks.conversation_bench import ConversationBench
from music.evaluation.benchmarks.defects import Defects
from music.evaluation.benchmarks.if_rewardbench import IFRewardBench
from music.evaluation.benchmarks.judgebench import JudgeBench
from music.evaluation.benchmarks.llmbar import LLMBar
from music.evaluation.benchmarks.mt_bench import MTBench
from music.evaluation.benchmarks.multichallenge import MultiChallenge
from music.evaluation.benchmarks.pairs import PairBenchmark, Preferences
from music.evaluation.benchmarks.ppe import PPE
from music.evaluation.benchmarks.rankjudge import RankJudge
from music.evaluation.benchmarks.rewardbench import RewardBench
from music.evaluation.benchmarks.rewardbench2 import RewardBench2
from music.evaluation.benchmarks.rm_bench import RMBench
from music.evaluation.benchmarks.rmb import RMB
from music.evaluation.benchmarks.turn_labels import TurnLabels
from music.evaluation.benchmarks.types import Benchmark, Item, ItemSet, LeftOutError, RejectedItem
from music.evaluation.benchmarks.voted_pairs import HelpSteer3, LMArena
from music.names import did_you_mean
from music.preferences.problems import RowError
from music.preferences.sources import Row, iter_rows

__all__ = ["benchmark_names", "load_benchmark", "read_benchmark", "register_benchmark"]

AnyBenchmark = TypeVar("AnyBenchmark", bound=Benchmark | type[Benchmark])
_Found = Sequence[Item | RejectedItem] | RowError

_GROUP = "music.benchmarks"
_OWN: tuple[Benchmark, ...] = (
    RewardBench(),
    RewardBench2(),
    RMBench(),
    JudgeBench(),
    RMB(),
    PPE(),
    MTBench(),
    LLMBar(),
    HelpSteer3(),
    LMArena(),
    IFRewardBench(),
    MultiChallenge(),
    RankJudge(),
    ConversationBench(),
    Preferences(),
    Defects(),
    TurnLabels(),
)
_benchmarks = {benchmark.name: benchmark for benchmark in _OWN}


def register_benchmark(benchmark: AnyBenchmark) -> AnyBenchmark:
    """Register a benchmark of your own under its name, in this process; also a class decorator.

    To register a benchmark for every process, an installed package names it in an entry point of the group
    `music.benchmarks`.

    Args:
        benchmark: The benchmark, or its class, which is called without arguments.

    Returns:
        The argument.

    Raises:
        InvalidInputError: The name is taken.

    Example:
        >>> from music import Conversation
        >>> from music.evaluation import ScoredItems, load_benchmark, pair_item, register_benchmark
        >>> @register_benchmark
        ... class Drinks:
        ...     name, source, split = "drinks", "rows of `question`, `good` and `bad`", "test"
        ...
        ...     def read(self, row):
        ...         prompt = Conversation().user(row.content["question"])
        ...         sides = prompt.assistant(row.content["good"]), prompt.assistant(row.content["bad"])
        ...         return [pair_item(row.content["question"], "drinks", *sides)]
        ...
        ...     def figures(self, items, scores):
        ...         scored = ScoredItems(items, scores)
        ...         return [scored.accuracy("overall", scored.places)]
        >>> load_benchmark("drinks").source
        'rows of `question`, `good` and `bad`'
    """
    made: Benchmark = benchmark() if isinstance(benchmark, type) else benchmark
    if made.name in benchmark_names():
        raise InvalidInputError(f"expected a new name, got {made.name!r}, which is taken; choose another")
    _benchmarks[made.name] = made
    return benchmark


def benchmark_names() -> tuple[str, ...]:
    """Return the names that `load_benchmark` knows."""
    return (*_benchmarks, *(point.name for point in entry_points(group=_GROUP) if point.name not in _benchmarks))


def load_benchmark(name: str) -> Benchmark:
    """Return a benchmark by name: one of this package, or a registered one.

    Raises:
        InvalidInputError: There is no benchmark of that name.

    Example:
        >>> from music.evaluation import load_benchmark
        >>> load_benchmark("rewardbench2").split
        'test'
    """
    if name in _benchmarks:
        return _benchmarks[name]
    for point in entry_points(group=_GROUP):
        if point.name == name:
            benchmark: Benchmark = point.load()
            return benchmark
    known = benchmark_names()
    hint = did_you_mean(name, known)
    raise InvalidInputError(f"expected the name of a benchmark ({', '.join(known)}), got {name!r}{hint}")


def read_benchmark(
    benchmark: Benchmark, sources: Sequence[str], *, split: str | None = None, strict: bool = True
) -> ItemSet:
    """Read the files of a benchmark.

    Args:
        benchmark: The benchmark.
        sources: Files, folders or hub ids, optionally followed by `:SPLIT`.
        split: The split of a folder or hub data set; by default the benchmark's own.
        strict: Whether a bad row is an error, because figures over fewer rows are not comparable. Otherwise bad rows
            are counted and left out.

    Raises:
        InvalidInputError: A source cannot be read, no row is left, an id is repeated, or, if `strict`, a row is bad.

    Example:
        >>> from music.evaluation import load_benchmark, read_benchmark
        >>> from music.preferences import write_preferences
        >>> from music.sandbox.world.seeds import seed_pairs
        >>> write_preferences(seed_pairs(20, 0), "pairs.jsonl")
        20
        >>> benchmark = load_benchmark("preferences")
        >>> items = read_benchmark(benchmark, ["pairs.jsonl"])
        >>> len(items.items)
        20
    """
    items: list[Item] = []
    rejected: list[RejectedItem] = []
    places: dict[str, str] = {}
    for source in sources:
        for row, found in _read(benchmark, source, split):
            for one in _usable(benchmark, row, found, strict=strict):
                if isinstance(one, RejectedItem):
                    rejected.append(one)
                else:
                    _require_new(one, row, places)
                    items.append(one)
    if not items:
        raise _no_items(benchmark, sources, rejected)
    return ItemSet(benchmark.name, tuple(items), tuple(rejected))


def _usable(benchmark: Benchmark, row: Row, found: _Found, *, strict: bool) -> Sequence[Item | RejectedItem]:
    """Return what a row gave; a bad row is an error, or is left out unless `strict`."""
    if not isinstance(found, RowError):
        return found
    if strict:
        raise _bad_row(benchmark, row, found) from found
    return [RejectedItem(row.file, f"{row.unit} {row.number}", str(found.problem), str(found))]


def _require_new(item: Item, row: Row, places: dict[str, str]) -> None:
    """Refuse an item whose id an earlier row has; remember its place."""
    if item.id in places:
        raise InvalidInputError(
            f"{_place(row)}: expected a unique id, got {item.id!r}, which {places[item.id]} has too; "
            "is a file given twice, or are two versions of the benchmark mixed?"
        )
    places[item.id] = _place(row)


def _place(row: Row) -> str:
    return f"{row.file}, {row.unit} {row.number}"


def _no_items(benchmark: Benchmark, sources: Sequence[str], rejected: Sequence[RejectedItem]) -> InvalidInputError:
    got = "no row"
    if rejected:
        first, reasons = rejected[0], Counter(one.reason for one in rejected)
        counts = ", ".join(f"{num} for {reason}" for reason, num in reasons.items())
        example = f"{first.file}, {first.place}" + (f": {first.detail}" if first.detail else "")
        got = f"none that can be used; left out: {counts} (first: {example})"
    return InvalidInputError(f"{', '.join(sources)}: expected rows of {benchmark.name}, got {got}")


def _read(benchmark: Benchmark, source: str, split: str | None) -> Iterator[tuple[Row, _Found]]:
    """Yield each row of a source with its items or its error."""
    if isinstance(benchmark, PairBenchmark):
        yield from benchmark.read_source(source, split)
        return
    for row in iter_rows(source, split, prefer=benchmark.split):
        yield row, _items(benchmark, row)


def _items(benchmark: Benchmark, row: Row) -> _Found:
    try:
        if isinstance(row.content, RowError):
            raise row.content
        return list(benchmark.read(row))
    except LeftOutError as error:
        return [RejectedItem(row.file, f"{row.unit} {row.number}", error.reason, error.detail, error.item)]
    except RowError as error:
        return error


def _bad_row(benchmark: Benchmark, row: Row, error: RowError) -> InvalidInputError:
    # A benchmark of pairs takes any preference file, so the row is probably not of another benchmark.
    of = "" if isinstance(benchmark, PairBenchmark) else f": no row of {benchmark.name} ({benchmark.source})"
    return InvalidInputError(
        f"{row.file}, {row.unit} {row.number}, {error}{of}; fix it, or pass --no-strict to count such rows and leave "
        "them out"
    )
