"""`music diagnose`: what is the matter with a reward model, and with a set of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from music.cli import AsJson, ConsecutiveFlag, ConsecutiveWord, FormatFlag, console, emit
from music.cli import read_pairs as read_training_pairs
from music.evaluation.cli import MODEL_HELP, require_subjects, take_scores, with_rules
from music.files import require_output_folder

if TYPE_CHECKING:
    from music.evaluation.diagnostics.records import Diagnosis
    from music.pairs import PreferencePair

__all__ = ["diagnose"]


def diagnose(
    pairs: Annotated[list[str], typer.Argument(help="Preference files, folders or hub ids.")],
    model: Annotated[list[str] | None, typer.Option(help=f"May be repeated. {MODEL_HELP}")] = None,
    train: Annotated[
        list[str] | None, typer.Option(help="Pairs that the models were trained on, to look for leakage; repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for scores and diagnosis; a killed run resumes there.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Draw this many prompts, for a quick look.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="Which split of a folder or hub data set; also SOURCE:SPLIT. By default test, or the only one."
        ),
    ] = None,
    format: FormatFlag = None,
    consecutive: ConsecutiveFlag = "refuse",
    strict: Annotated[
        bool, typer.Option(help="Stop at bad rows and at conversations without a score; else count and leave out.")
    ] = True,
    json: AsJson = False,
) -> None:
    """Diagnose reward models on preference pairs: shortcuts, history, calibration, disagreement, leakage.

    Example: music diagnose held_out.parquet --model runs/rm --model length --train pairs.parquet
    """
    from music.evaluation.benchmarks.pairs import Preferences
    from music.evaluation.benchmarks.registry import read_benchmark
    from music.evaluation.diagnostics.diagnosing import diagnose as find
    from music.evaluation.diagnostics.probes import probe_pairs

    if out is not None:
        require_output_folder(out)
    require_subjects(*(model or ()))
    items = whole = read_benchmark(with_rules(Preferences(), format, consecutive), pairs, split=split, strict=strict)
    if limit is not None:
        items = whole.draw_prompts(limit)
    probed = probe_pairs(items)
    scores = [
        take_scores(name, probed.scored, out and out / f"scores-{number}.jsonl", strict)
        for number, name in enumerate(model or (), start=1)
    ]
    found = find(
        probed,
        scores,
        train=_training_pairs(train, consecutive) if train else None,
        files=pairs,
        num_pairs_of_all=len(whole.items) if limit is not None else None,
        strict=strict,
    )
    _report(found, out, json)


def _training_pairs(sources: Sequence[str], consecutive: ConsecutiveWord) -> Iterator[PreferencePair]:
    for source in sources:
        yield from read_training_pairs(source, consecutive=consecutive).pairs


def _report(found: Diagnosis, out: Path | None, json: bool) -> None:
    """Save the diagnosis and print it."""
    import orjson

    from music.evaluation.diagnostics.report import diagnosis_report
    from music.evaluation.diagnostics.tables import show_diagnosis
    from music.report import write_report

    text = found.model_dump_json(indent=2)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "diagnosis.json").write_text(text + "\n", encoding="utf-8")
        write_report(diagnosis_report(found), out / "report.html")
        console.print(f"scores, diagnosis and report: {out}", markup=False, highlight=False, soft_wrap=True)
    emit(orjson.loads(text), json, show_diagnosis(found))
