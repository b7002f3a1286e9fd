"""`diagnose` reads a set of pairs once, in any order, and says what it looks like and what to mind."""

from collections.abc import Iterable, Mapping

from music.pairs import ContrastivePair
from music_agents.quality.diagnostics import Diagnostics
from music_agents.quality.survey import Survey
from music_agents.quality.warnings import find_warnings

__all__ = ["diagnose"]


def diagnose(pairs: Iterable[ContrastivePair], dropped: Mapping[str, int] | None = None) -> Diagnostics:
    """Look at a set of pairs.

    Args:
        pairs: The kept pairs in any order, for example `read_saved_pairs(directory)`. They are read once and not kept,
            but for a sample of 2,000.
        dropped: Pairs that came to nothing, by reason.
    """
    survey = Survey()
    for pair in pairs:
        survey.add(pair)
    found = Diagnostics(
        num_pairs=survey.num_pairs,
        dropped=dict(sorted((dropped or {}).items())),
        length=survey.length_gap(),
        tells=survey.sample.tells(),
        refusals={side: mean.share() for side, mean in survey.refusals.items()},
        turns_contrasted=sum(survey.strategies.values()) / max(1, survey.num_pairs),
        strategies=dict(sorted(survey.strategies.items())),
        repeats=survey.repeats(),
        personas=survey.persona_coverage(),
    )
    return found.model_copy(update={"warnings": tuple(find_warnings(found))})
