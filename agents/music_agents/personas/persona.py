"""`Persona` of a simulated user, and the protocol of its sources (`music_agents.personas.sources`)."""

from enum import StrEnum
from typing import Annotated, Protocol, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from music.llm.sanitise import neutralise
from music_agents.seeds import Seed

__all__ = ["PERSONA_HEADINGS", "Patience", "Persona", "PersonaSource"]

Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Patience(StrEnum):
    """How a user reacts to replies that miss the point."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


GOAL, STYLE, PATIENCE = "What you want: ", "How you write: ", "When a reply misses the point: "
FACTS = "What is true of you; mention each where it fits, not all at once:"
CONSTRAINTS = "Your standing wishes, on every reply; state each where it fits, not all at once:"
PERSONA_HEADINGS = (FACTS[:20], CONSTRAINTS[:20], PATIENCE[:-1], "not all at once:")
"""Phrases of a persona's description that no user writes."""

_PATIENCE = {
    Patience.LOW: "you grow short, say so at once, and insist.",
    Patience.MEDIUM: "you say so once, and ask again.",
    Patience.HIGH: "you stay friendly, and ask again in other words.",
}


class Persona(BaseModel):
    """Describes a simulated user and what they want; at least one field is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    who: str = ""
    """Who the user is, in a sentence; the only field of a plain persona."""
    goal: str = ""
    """What the user wants from the conversation."""
    facts: tuple[Sentence, ...] = ()
    """What is true of the user, each in a sentence that the user could say ("I work nights.")."""
    constraints: tuple[Sentence, ...] = ()
    """Standing wishes on every reply, each in a sentence that the user could say ("Keep it under 80 words.")."""
    style: str = ""
    """How the user writes."""
    patience: Patience | None = None
    """How the user reacts to replies that miss the point; None leaves it to the model."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not any((self.who.strip(), self.goal.strip(), self.facts, self.constraints, self.style.strip())):
            raise ValueError(
                "expected who, goal, facts, constraints or style; an empty persona is anyone: leave it out"
            )
        return self

    @classmethod
    def of(cls, sentence: str) -> "Persona":
        """Return a plain persona.

        Example:
            >>> Persona.of("A beginner who asks short questions.").describe()
            'A beginner who asks short questions.'

        Raises:
            pydantic.ValidationError: The sentence is blank.
        """
        return cls(who=sentence)

    def describe(self) -> str:
        """Return the description for the user simulator's prompt, one item per line.

        Control tokens of chat templates are neutralised, as in replies: personas may be untrusted.
        """
        lines = [self.who] if self.who else []
        if self.goal:
            lines.append(GOAL + self.goal)
        if self.facts:
            lines += [FACTS, *self.facts]
        if self.constraints:
            lines += [CONSTRAINTS, *self.constraints]
        if self.style:
            lines.append(STYLE + self.style)
        if self.patience:
            lines.append(PATIENCE + _PATIENCE[self.patience])
        return neutralise("\n".join(lines))


class PersonaSource(Protocol):
    """Gives the persona of the user of a pair: any callable with a digest."""

    def __call__(self, index: int, seed: Seed, run_seed: int, /) -> Persona | None:
        """Return the persona of a pair; None for no persona.

        It depends on the arguments alone, so that a resumed run gets the same one.

        Args:
            index: Index of the pair in its run.
            seed: The seed of the pair.
            run_seed: The run's seed.
        """
        ...

    def digest(self) -> str:
        """Return a fingerprint of the source; a run whose source has changed refuses to resume."""
        ...
