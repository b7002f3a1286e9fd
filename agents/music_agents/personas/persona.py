"""Personas: who a simulated user is. Where they come from, `music_agents.personas.sources` says."""

from enum import StrEnum
from typing import Annotated, Protocol, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from music.llm.sanitise import neutralise
from music_agents.seeds import Seed

__all__ = ["PERSONA_HEADINGS", "Patience", "Persona", "PersonaSource"]

Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Patience(StrEnum):
    """How a user takes replies that miss the point."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


GOAL, STYLE, PATIENCE = "What you want: ", "How you write: ", "When a reply misses the point: "
FACTS = "What is true of you; mention each where it fits, not all at once:"
CONSTRAINTS = "Your standing wishes, on every reply; state each where it fits, not all at once:"
PERSONA_HEADINGS = (FACTS[:20], CONSTRAINTS[:20], PATIENCE[:-1], "not all at once:")
"""What only a persona's description says, never a user."""

_PATIENCE = {
    Patience.LOW: "you grow short, say so at once, and insist.",
    Patience.MEDIUM: "you say so once, and ask again.",
    Patience.HIGH: "you stay friendly, and ask again in other words.",
}


class Persona(BaseModel):
    """Who a simulated user is, and what they want; it holds one thing at the least."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    who: str = ""
    """Who the user is, in a sentence: all that a plain persona has."""
    goal: str = ""
    """What the user wants from the conversation."""
    facts: tuple[Sentence, ...] = ()
    """What is true of the user, each in a sentence that the user could say ("I work nights.")."""
    constraints: tuple[Sentence, ...] = ()
    """Standing wishes on every reply, each in a sentence that the user could say ("Keep it under 80 words.")."""
    style: str = ""
    """How the user writes."""
    patience: Patience | None = None
    """How the user takes replies that miss the point; None leaves it to the model."""

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
        """Return who the user is, as the user simulator's prompt words it, one thing a line.

        Chat templates' control tokens are neutralised, as they are in replies: personas may come from anywhere.
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
    """Says who the user of a pair is: any callable with a digest."""

    def __call__(self, index: int, seed: Seed, run_seed: int, /) -> Persona | None:
        """Return the persona of a pair; None for anyone.

        It depends on the arguments alone, so that a resumed run gets the same one.

        Args:
            index: Index of the pair in its run.
            seed: What it grows from.
            run_seed: The run's seed.
        """
        ...

    def digest(self) -> str:
        """Return what tells this source from others; a run whose source has changed refuses to resume."""
        ...
