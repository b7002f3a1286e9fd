"""Contrasts that a model is asked for by a prompt of their own."""

from dataclasses import dataclass, replace
from typing import ClassVar

from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, Sampling
from music.pairs import TurnContrast
from music.prompts import ContrastStrategy, parse_contrast, parse_rewrite, render_contrast, render_rewrite
from music_agents.failures import FailureReason, UnfitReplyError
from music_agents.roles import Role, RoleTurn, RoleView
from music_agents.roles.asking import ask

__all__ = ["DropConstraintContrast", "InstructionContrast", "PersonaSwapContrast", "TwoCallContrast"]


@dataclass(frozen=True, slots=True)
class _PromptedContrast:
    """One call that returns both the modified instruction and the answer to it; only the answer is spoken.

    Attributes:
        model: Whom to ask.
        sampling: How the model samples.
    """

    strategy: ClassVar[ContrastStrategy]

    model: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Answer a modified version of the user's request."""
        messages = render_contrast(self.strategy, view.conversation)
        answer = await ask(self.model, view, messages, self.sampling, _both_parts)
        modified, response = answer.content
        record = TurnContrast(turn=view.turn, strategy=self.strategy, modified_instruction=modified)
        return RoleTurn(text=response, usage=answer.usage, contrast=record, retries=answer.retries)


class InstructionContrast(_PromptedContrast):
    """The paper's: answers a related but different request well (Algorithm 1, step 3).

    One call a turn. Its errors are against the request itself; wishes and facts stated earlier are respected.
    """

    strategy = ContrastStrategy.INSTRUCTION


class DropConstraintContrast(_PromptedContrast):
    """Answers the right request, but drops or changes a wish that the user stated earlier.

    One call a turn. Its errors are against standing wishes; where none was stated, against the request.
    """

    strategy = ContrastStrategy.DROP_CONSTRAINT


class PersonaSwapContrast(_PromptedContrast):
    """Answers as if the user were someone else, with another goal, level, facts and wishes.

    One call a turn. Its errors are wrong facts about the user and wrong wishes; where neither bears on the reply, it
    answers another goal.
    """

    strategy = ContrastStrategy.PERSONA_SWAP


@dataclass(frozen=True, slots=True)
class TwoCallContrast:
    """As the instruction contrast, in two calls: one rewrites the request, then the assistant answers the new one.

    Two calls a turn. The rejected reply comes from the very assistant of the chosen side, in its own voice, which sees
    no prompt of ours; so the reply can hold no trace of one.

    Attributes:
        model: Who rewrites.
        assistant: Who answers.
        sampling: How the rewriting model samples.
    """

    model: ChatModel
    assistant: Role
    sampling: Sampling = AS_THE_ENDPOINT_DOES

    async def __call__(self, view: RoleView) -> RoleTurn:
        """Rewrite the request, and answer it."""
        messages, asked = render_rewrite(view.conversation), view.conversation.messages[-1].content
        rewrite = await ask(
            self.model, view, messages, self.sampling, lambda text: _rewritten(text, asked), step="rewrite"
        )
        modified = view.conversation.prefix(len(view.conversation.messages) - 1).user(rewrite.content)
        said = await self.assistant(replace(view, conversation=modified))
        record = TurnContrast(turn=view.turn, strategy="instruction_two_call", modified_instruction=rewrite.content)
        return replace(said, usage=rewrite.usage + said.usage, retries=rewrite.retries + said.retries, contrast=record)


def _both_parts(text: str) -> tuple[str, str]:
    """Read a contrast's reply.

    Raises:
        UnfitReplyError: It does not keep to the format.
    """
    parts = parse_contrast(text)
    if parts is None:
        raise UnfitReplyError(
            FailureReason.REPLY_UNPARSED, "it is not a <modified_instruction> followed by a <response>"
        )
    return parts


def _rewritten(text: str, asked: str) -> str:
    """Read a rewritten request.

    Raises:
        UnfitReplyError: It does not keep to the format, or nothing is changed.
    """
    modified = parse_rewrite(text)
    if modified is None or modified == asked.strip():
        detail = "it is not a <modified_instruction>" if modified is None else "it repeats the message unchanged"
        raise UnfitReplyError(FailureReason.REPLY_UNPARSED, detail)
    return modified
