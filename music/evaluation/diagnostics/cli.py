"""`music diagnose`: what a reward model relies on, and what is wrong with a set of pairs."""

from music.cli import AsJson, counted, emit, note, with_flags
from music.evaluation.config import DiagnosisConfig

__all__ = ["diagnose"]


@with_flags
def diagnose(config: DiagnosisConfig, as_json: AsJson = False) -> None:
    """Diagnose reward models on preference pairs: shortcuts, history, calibration, disagreement, leakage.

    Example: music diagnose held_out.parquet --model runs/rm --model length --train pairs.parquet
    """
    import orjson

    from music.evaluation.diagnostics.report import show_diagnosis
    from music.evaluation.diagnostics.run import run_diagnosis

    found = run_diagnosis(config, progress=counted, note=note)
    emit(orjson.loads(found.model_dump_json()), as_json, show_diagnosis(found))
