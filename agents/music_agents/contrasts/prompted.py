"""Contrasts that prompt a model for a worse reply."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, Sampling
from music.pairs import TurnContrast
from music.prompts import (
    ContrastFormat,
    ContrastStrategy,
    PromptKind,
    PromptTemplate,
    ReplyFormatError,
    contrast_schema,
    read_contrast,
    read_rewrite,
    render_contrast,
    render_rewrite,
)
from music_agents.failures import FailureReason, UnfitReplyError
from music_agents.roles import RoleTurn, RoleView, Speaker
from music_agents.roles.model_roles import ask

__all__ = ["ContradictContrast", "DropConstraintContrast", "IgnoreCorrectionContrast", "InstructionContrast"]
__all__ += ["LoseGoalContrast", "PersonaSwapContrast", "PromptedContrast", "TwoCallContrast"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PromptedContrast:
    """One call that returns both the modified instruction and the answer to it; only the answer is spoken.

    Attributes:
        model: The model.
        sampling: Its sampling settings.
        form: The requested format of the reply; other formats are read, too, if they are unambiguous.
        template: Your own prompt; None for this package's.
    """

    strategy: ClassVar[ContrastStrategy]

    model: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES
    form: ContrastFormat = ContrastFormat.TAGS
    template: PromptTemplate | None = None

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer a modified version of the user's request."""
        messages = render_contrast(self.strategy, view.conversation, self.form, self.template)
        asked = view.conversation.messages[-1].content
        schema = _schema(PromptKind(self.strategy), self.form)
        read = _fit(lambda text: read_contrast(text, asked))
        answer = await ask(self.model, view, messages, self.sampling, read, json_schema=schema)
        modified, response = answer.content
        record = TurnContrast(turn=view.turn, strategy=self.strategy, modified_instruction=modified)
        return RoleTurn(text=response, usage=answer.usage, contrast=record, retries=answer.retries)


class InstructionContrast(PromptedContrast):
    """Answers a related but different request well, as in the paper (Algorithm 1, step 3).

    One call per turn. The reply misses the request; it respects earlier wishes and facts.
    """

    strategy = ContrastStrategy.INSTRUCTION


class DropConstraintContrast(PromptedContrast):
    """Answers the right request, but drops or changes a wish that the user stated earlier.

    One call per turn. The reply breaks a standing wish; if there is none, it misses the request.
    """

    strategy = ContrastStrategy.DROP_CONSTRAINT


class PersonaSwapContrast(PromptedContrast):
    """Answers as if the user were someone else, with another goal, level, facts and wishes.

    One call per turn. The reply uses wrong facts about the user and wrong wishes; if neither matters, it answers
    another goal.
    """

    strategy = ContrastStrategy.PERSONA_SWAP


class ContradictContrast(PromptedContrast):
    """Answers, but contradicts what the assistant said earlier.

    One call per turn. If nothing was said that the reply can contradict, it misses the request.
    """

    strategy = ContrastStrategy.CONTRADICT


class IgnoreCorrectionContrast(PromptedContrast):
    """Repeats an error that the user pointed out.

    One call per turn. If the user corrected nothing, the reply misses the request.
    """

    strategy = ContrastStrategy.IGNORE_CORRECTION


class LoseGoalContrast(PromptedContrast):
    """Answers another step of the user's plan than the one that is due.

    One call per turn. If the user pursues no goal over several turns, the reply misses the request.
    """

    strategy = ContrastStrategy.LOSE_GOAL


@dataclass(frozen=True, slots=True)
class TwoCallContrast:
    """The instruction contrast in two calls: one rewrites the request, then the assistant answers the new request.

    Two calls per turn. The assistant of the chosen side writes the rejected reply without seeing a contrast prompt, so
    the reply cannot leak one.

    Attributes:
        model: Rewrites the request.
        assistant: Answers it.
        sampling: Sampling settings of the rewriting model.
        form: The requested format of the rewritten request.
    """

    model: ChatModel
    assistant: Speaker
    sampling: Sampling = AS_THE_ENDPOINT_DOES
    form: ContrastFormat = ContrastFormat.TAGS

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Rewrite the request, and answer it."""
        messages, asked = render_rewrite(view.conversation, self.form), view.conversation.messages[-1].content
        schema = _schema(PromptKind.REWRITE, self.form)
        read = _fit(lambda text: read_rewrite(text, asked))
        rewrite = await ask(self.model, view, messages, self.sampling, read, step="rewrite", json_schema=schema)
        modified = view.conversation.prefix(len(view.conversation.messages) - 1).user(rewrite.content)
        said = await self.assistant(replace(view, conversation=modified))
        record = TurnContrast(turn=view.turn, strategy="instruction_two_call", modified_instruction=rewrite.content)
        return replace(said, usage=rewrite.usage + said.usage, retries=rewrite.retries + said.retries, contrast=record)


def _schema(part: PromptKind, form: ContrastFormat) -> dict[str, Any] | None:
    return contrast_schema(part) if form is ContrastFormat.JSON else None


def _fit(read: Callable[[str], T]) -> Callable[[str], T]:
    """Return a reader that raises `UnfitReplyError`, so that the role asks again."""

    def fit(text: str) -> T:
        try:
            return read(text)
        except ReplyFormatError as error:
            raise UnfitReplyError(FailureReason.REPLY_UNPARSED, str(error)) from error

    return fit
