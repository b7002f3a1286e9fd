"""The configs of an evaluation and of a diagnosis. The command line imports them for its flags, so imports are few."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from music.config import Config, Flag

__all__ = ["BenchmarkReading", "DiagnosisConfig", "EvaluationConfig", "LeaderboardConfig"]


class BenchmarkReading(Config):
    """How the files of a benchmark are read, and what happens to rows that cannot be used."""

    limit: int | None = Field(default=None, ge=1)
    """Use only this many prompts, drawn at random, for a quick look."""
    split: str | None = None
    """The split of a folder or hub data set to read; also SOURCE:SPLIT. By default the benchmark's own (`test` for
    pairs), or the only one."""
    format: str | None = None
    """The format of all rows, by default detected for each row. See docs/your-own-data.md."""
    consecutive: Literal["refuse", "merge"] = "refuse"
    """If one speaker writes two consecutive messages: refuse the row, or merge the messages."""
    strict: bool = True
    """Stop at bad rows and at conversations without a score. Otherwise they are counted and left out."""


class EvaluationConfig(Config):
    """The configuration of an evaluation of a reward model on a benchmark.

    Example:
        >>> config = EvaluationConfig(benchmark="preferences", files=("held_out.jsonl",), model="runs/rm")
        >>> config.model_copy(update={"baseline": "length"}).baseline
        'length'
    """

    benchmark: Annotated[str, Flag(is_argument=True)]
    """The name of the benchmark, for example rewardbench2. An unknown name lists them all."""
    files: Annotated[tuple[str, ...], Flag(is_argument=True)]
    """The benchmark's files, folders or hub ids."""
    model: str | None = None
    """What to evaluate: MODEL, prefix-mean:MODEL, MODEL@URL, oracle, length or random; judge:ENDPOINT (rates each
    completion) or judge-pairs:ENDPOINT (compares every two); or a file of scores (.jsonl) written by --out."""
    scores: Path | None = None
    """Instead of --model: a file of scores computed elsewhere, with rows of `id` and `scores`. The order is free, and
    items may be missing. As a --baseline: scores:FILE."""
    baseline: str | None = None
    """Another model to compare with, prompt by prompt."""
    out: Path | None = None
    """Folder for the scores and the result. A killed run resumes there."""
    reading: BenchmarkReading = BenchmarkReading()
    """How the files are read."""

    @property
    def evaluated(self) -> str:
        """The name of what is evaluated: the model, or `scores:FILE`."""
        return self.model or f"scores:{self.scores}"

    @model_validator(mode="after")
    def _has_scores_from_one_place(self) -> Self:
        if (self.model is None) == (self.scores is None):
            raise ValueError(f"expected either a model or a file of scores, got {'both' if self.model else 'neither'}")
        return self


class LeaderboardConfig(Config):
    """The configuration of an evaluation of several models on several benchmarks.

    Example:
        >>> config = LeaderboardConfig(benchmarks=("mt_bench=votes.jsonl",), models=("runs/rm", "length"))
        >>> config.reading.strict
        True
    """

    benchmarks: Annotated[tuple[str, ...], Flag(is_argument=True, metavar="BENCHMARK=FILE...")]
    """The benchmarks with their files, folders or hub ids; name a benchmark again for a further file."""
    models: Annotated[tuple[str, ...], Flag(name="--model")] = Field(min_length=1)
    """A model to evaluate, as --model of music evaluate, or computed elsewhere (scores:FILE). May be repeated."""
    out: Path | None = None
    """Folder for the table, with a folder for each benchmark and model. A killed run resumes there."""
    reading: BenchmarkReading = BenchmarkReading()
    """How the files are read."""

    @model_validator(mode="after")
    def _models_differ(self) -> Self:
        if repeated := [model for model in self.models if self.models.count(model) > 1]:
            raise ValueError(f"expected each model once, got {repeated[0]} several times")
        return self


class DiagnosisConfig(Config):
    """The configuration of a diagnosis of reward models on preference pairs, or of the pairs alone.

    Example:
        >>> config = DiagnosisConfig(pairs=("held_out.jsonl",), models=("runs/rm", "length"))
        >>> config.reading.strict
        True
    """

    pairs: Annotated[tuple[str, ...], Flag(is_argument=True)]
    """Preference files, folders or hub ids."""
    models: Annotated[tuple[str, ...], Flag(name="--model")] = ()
    """A model to diagnose: MODEL, prefix-mean:MODEL, MODEL@URL, oracle, length or random; judge:ENDPOINT (rates each
    completion) or judge-pairs:ENDPOINT (compares every two); or a file of scores (.jsonl) written by --out. May be
    repeated."""
    train: tuple[str, ...] = ()
    """Pairs that the models were trained on, to look for leakage. May be repeated."""
    out: Path | None = None
    """Folder for the scores and the diagnosis. A killed run resumes there."""
    reading: BenchmarkReading = BenchmarkReading()
    """How the files are read."""
