"""Personas of simulated users.

- `persona`: `Persona` and the protocol `PersonaSource`; `sources`: files, columns, the sandbox; `sampler`: attributes.
"""

from music_agents.personas.persona import PERSONA_HEADINGS, Patience, Persona, PersonaSource

__all__ = ["PERSONA_HEADINGS", "Patience", "Persona", "PersonaSource"]
