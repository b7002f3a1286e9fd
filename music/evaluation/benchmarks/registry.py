"""Benchmarks by name: those of this package, those registered by a program, and those of installed packages."""

from importlib.metadata import entry_points

from music.errors import InvalidInputError
from music.evaluation.benchmarks.benchmark import Benchmark
from music.evaluation.benchmarks.judgebench import JudgeBench
from music.evaluation.benchmarks.mt_bench import MTBench
from music.evaluation.benchmarks.ppe import PPE
from music.evaluation.benchmarks.preferences import Preferences
from music.evaluation.benchmarks.rewardbench import RewardBench
from music.evaluation.benchmarks.rewardbench2 import RewardBench2
from music.evaluation.benchmarks.rm_bench import RMBench
from music.evaluation.benchmarks.rmb import RMB
from music.evaluation.multi_turn.defects import Defects
from music.evaluation.multi_turn.turn_labels import TurnLabels
from music.names import did_you_mean

__all__ = ["benchmark_names", "load_benchmark", "register_benchmark"]

_GROUP = "music.benchmarks"
_OWN: tuple[Benchmark, ...] = (
    RewardBench(),
    RewardBench2(),
    RMBench(),
    JudgeBench(),
    RMB(),
    PPE(),
    MTBench(),
    Preferences(),
    Defects(),
    TurnLabels(),
)
_benchmarks = {benchmark.name: benchmark for benchmark in _OWN}


def register_benchmark(benchmark: Benchmark) -> None:
    """Make a benchmark of your own known by its name, in this process.

    A package makes one known everywhere by an entry point of the group `music.benchmarks` that names the object.

    Raises:
        InvalidInputError: There is one of that name.
    """
    if benchmark.name in benchmark_names():
        raise InvalidInputError(f"expected a name of its own, got {benchmark.name!r}, which is taken; choose another")
    _benchmarks[benchmark.name] = benchmark


def benchmark_names() -> tuple[str, ...]:
    """Return the names that `load_benchmark` knows."""
    return (*_benchmarks, *(point.name for point in entry_points(group=_GROUP) if point.name not in _benchmarks))


def load_benchmark(name: str) -> Benchmark:
    """Return a benchmark by name.

    Raises:
        InvalidInputError: There is none of that name.
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
