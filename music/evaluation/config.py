"""What shapes an evaluation and a diagnosis. Light: the command line imports it for its flags."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from music.config import Config, Flag

__all__ = ["BenchmarkReading", "DiagnosisConfig", "EvaluationConfig"]


class BenchmarkReading(Config):
    """How the files of a benchmark are read, and what becomes of what cannot be used."""

    limit: int | None = Field(default=None, ge=1)
    """Draw this many prompts, for a quick look."""
    split: str | None = None
    """Which split of a folder or hub data set; also SOURCE:SPLIT. By default the benchmark's own: `test` for pairs, or
    the only one."""
    format: str | None = None
    """Shape of all rows, as docs/your-own-data.md names it; by default it is found for each row."""
    consecutive: Literal["refuse", "merge"] = "refuse"
    """Two messages in a row by one speaker: refuse the row, or merge them."""
    strict: bool = True
    """Stop at bad rows and at conversations without a score; else count them and leave them out."""


class EvaluationConfig(Config):
    """Everything that shapes an evaluation of a reward model on a benchmark.

    Example:
        >>> config = EvaluationConfig(benchmark="preferences", files=("held_out.jsonl",), model="runs/rm")
        >>> config.model_copy(update={"baseline": "length"}).baseline
        'length'
    """

    benchmark: Annotated[str, Flag(is_argument=True)]
    """For example rewardbench2; another name lists all."""
    files: Annotated[tuple[str, ...], Flag(is_argument=True)]
    """Its files, folders or hub ids."""
    model: str
    """MODEL, prefix-mean:MODEL, MODEL@URL, oracle, length or random; judge:ENDPOINT (rates each completion) or
    judge-pairs:ENDPOINT (compares each two); or a file of scores (.jsonl) that --out has kept."""
    baseline: str | None = None
    """Another to compare with, prompt by prompt."""
    out: Path | None = None
    """Folder for scores and result; a killed run resumes there."""
    reading: BenchmarkReading = BenchmarkReading()
    """How the files are read."""


class DiagnosisConfig(Config):
    """Everything that shapes a diagnosis of reward models on preference pairs, or of the pairs alone.

    Example:
        >>> config = DiagnosisConfig(pairs=("held_out.jsonl",), models=("runs/rm", "length"))
        >>> config.reading.strict
        True
    """

    pairs: Annotated[tuple[str, ...], Flag(is_argument=True)]
    """Preference files, folders or hub ids."""
    models: Annotated[tuple[str, ...], Flag(name="--model")] = ()
    """May be repeated. MODEL, prefix-mean:MODEL, MODEL@URL, oracle, length or random; judge:ENDPOINT (rates each
    completion) or judge-pairs:ENDPOINT (compares each two); or a file of scores (.jsonl) that --out has kept."""
    train: tuple[str, ...] = ()
    """Pairs that the models were trained on, to look for leakage; repeatable."""
    out: Path | None = None
    """Folder for scores and diagnosis; a killed run resumes there."""
    reading: BenchmarkReading = BenchmarkReading()
    """How the files are read."""
