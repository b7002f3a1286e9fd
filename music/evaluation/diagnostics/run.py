"""`run_diagnosis` runs a diagnosis from its config and writes its files; `music diagnose` calls it."""

import logging
from collections.abc import Callable, Iterator, Sequence

from music.errors import InvalidInputError
from music.evaluation.benchmarks.pairs import Preferences
from music.evaluation.config import DiagnosisConfig
from music.evaluation.diagnostics.diagnosis import Diagnosis, diagnose
from music.evaluation.diagnostics.history import probe_pairs
from music.evaluation.diagnostics.report import diagnosis_report
from music.evaluation.run import ranked_pairs, read_items, write_outputs
from music.evaluation.scoring.by_name import require_scorers, scores_by_name
from music.files import require_output_folder
from music.pairs import PreferencePair
from music.preferences import Consecutive, read_preferences
from music.progress import ProgressBar, no_progress

__all__ = ["run_diagnosis"]

logger = logging.getLogger(__name__)


def run_diagnosis(
    config: DiagnosisConfig,
    *,
    progress: ProgressBar = no_progress,
    note: Callable[[str], None] = logger.info,
) -> Diagnosis:
    """Diagnose reward models on preference pairs, or the pairs alone.

    With `config.out`, the scores, `diagnosis.json` and `report.html` are written there, and a killed run resumes.

    Args:
        config: The models to diagnose, and the pairs.
        progress: Shows how many pairs and probes are scored.
        note: Called with messages for the user: what was read, which model is in use, where the files are.

    Raises:
        InvalidInputError: There is no such model, a file cannot be read, or there is nothing to diagnose; see
            `diagnose`.
        UnscoredError: A conversation has no score, and `config.reading.strict`.

    Example:
        >>> from music.evaluation import DiagnosisConfig, run_diagnosis
        >>> from music.preferences import write_preferences
        >>> from music.sandbox.world.seeds import seed_pairs
        >>> write_preferences(seed_pairs(20, 0), "pairs.jsonl")
        20
        >>> config = DiagnosisConfig(pairs=("pairs.jsonl",), models=("length", "oracle"))
        >>> print(run_diagnosis(config).disagreement.comparisons[0].estimate)
        -0.350 [-0.625, -0.075]
    """
    if config.out is not None:
        require_output_folder(config.out)
    require_scorers(*config.models)
    strict = config.reading.strict
    items, num_pairs_of_all = read_items(Preferences(), config.pairs, config.reading, note)
    probed = probe_pairs(items)
    paths = [config.out and config.out / f"scores-{number}.jsonl" for number in range(1, len(config.models) + 1)]
    scores = [
        scores_by_name(name, probed.scored, path, strict=strict, progress=progress, note=note)
        for name, path in zip(config.models, paths, strict=True)
    ]
    found = diagnose(
        probed,
        scores,
        train=_training_pairs(config.train, Consecutive(config.reading.consecutive), note) if config.train else None,
        files=config.pairs,
        num_pairs_of_all=num_pairs_of_all,
        strict=strict,
    )
    if config.out is not None:
        ranked = {each.header.model: ranked_pairs(items, each) for each in scores}
        write_outputs(config.out, "diagnosis.json", found, diagnosis_report(found), ranked)
        note(f"scores, diagnosis and report: {config.out}")
    return found


def _training_pairs(
    sources: Sequence[str], consecutive: Consecutive, note: Callable[[str], None]
) -> Iterator[PreferencePair]:
    for source in sources:
        found = read_preferences(source, consecutive=consecutive)
        note(found.summary())
        if not found.pairs:
            raise InvalidInputError(f"{source}: expected at least one usable preference pair, got none")
        yield from found.pairs
