"""Personas: who a simulated user is.

- `persona`: `Persona`, and what a source of them is; `sources`: a file, a column, the sandbox; `sampler`: attributes.
"""

from music_agents.personas.persona import PERSONA_HEADINGS, Patience, Persona, PersonaSource

__all__ = ["PERSONA_HEADINGS", "Patience", "Persona", "PersonaSource"]
