"""Contrasts: how a rejected assistant turn is made worse than the chosen one, yet fluent on its own.

A contrast speaks as the assistant in the rejected rollout, and records how it made the reply worse. If it cannot make a
turn worse, the assistant answers and nothing is recorded. Contrasts are plug-ins with typed parameters:
`register_contrast` adds one by name. `make_contrast` draws one for each pair by weight, and restricts them to a
schedule of turns.
"""

from music_agents.contrasts.mix import ContrastMix, check_mix, make_contrast, parse_mix
from music_agents.contrasts.prompted import (
    ContradictContrast,
    DropConstraintContrast,
    IgnoreCorrectionContrast,
    InstructionContrast,
    LoseGoalContrast,
    PersonaSwapContrast,
    TwoCallContrast,
)
from music_agents.contrasts.registry import ContrastFactory, ContrastSpec, contrast_names, register_contrast
from music_agents.contrasts.schedule import ALL_TURNS, Schedule, ScheduledContrast
from music_agents.contrasts.unprompted import ForgetContrast, StaleContrast, WeakerModelContrast, answer_plainly

__all__ = ["DropConstraintContrast", "InstructionContrast", "PersonaSwapContrast", "TwoCallContrast"]
__all__ += ["ContradictContrast", "IgnoreCorrectionContrast", "LoseGoalContrast"]
__all__ += ["ForgetContrast", "StaleContrast", "WeakerModelContrast"]
__all__ += ["ContrastFactory", "ContrastSpec", "contrast_names", "register_contrast"]
__all__ += ["ContrastMix", "check_mix", "make_contrast", "parse_mix"]
__all__ += ["ALL_TURNS", "Schedule", "ScheduledContrast", "answer_plainly"]
