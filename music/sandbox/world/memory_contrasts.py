"""Contrasts whose errors depend on earlier turns; where a turn cannot have the error, they change the request.

`CONTRASTS` lists all contrasts of the sandbox that answer in one call.
"""

from collections.abc import Callable
from dataclasses import replace

from music.conversation import Conversation
from music.prompts import PromptKind
from music.sandbox.world.contrasts import contrast, drop_constraint, persona_swap
from music.sandbox.world.language import read_reply, write_reply, write_user
from music.sandbox.world.players import draft, repeated, stream
from music.sandbox.world.state import expectations
from music.sandbox.world.vocabulary import Ask, AskKind, MemoryAsk, Tip, UserAct

__all__ = ["CONTRASTS", "contradict", "ignore_correction", "lose_goal"]


def contradict(conversation: Conversation, seed: object, carelessness: float) -> tuple[str, str] | None:
    """Quote another reply than the one that the user asks about; without another one, change the request."""
    expected = expectations(conversation)[-1]
    replies = [read_reply(each.content) for each in conversation.messages if each.role == "assistant"]
    others = [tip for reply in replies for tip in reply.tips if tip.topic and tip.aspect]
    if expected is None or expected.kind is not MemoryAsk.QUOTE or not set(others) - {*expected.tips}:
        return contrast(conversation, seed, carelessness)
    other = stream(seed, "contrast").choice([tip for tip in others if tip not in expected.tips])
    return _about(other, conversation, seed, carelessness, 1)


def ignore_correction(conversation: Conversation, seed: object, carelessness: float) -> tuple[str, str] | None:
    """Repeat the error that the user points out; without one, change the request."""
    expected = expectations(conversation)[-1]
    if expected is None or expected.wrong is None:
        return contrast(conversation, seed, carelessness)
    said = repeated(expected, draft(expected, seed, carelessness))
    instruction = write_user(UserAct(Ask(MemoryAsk.CORRECTION)), stream(seed, "instruction"))
    return f"{instruction} (Ignored: {expected.error}.)", write_reply(said, stream(seed, "words"))


def lose_goal(conversation: Conversation, seed: object, carelessness: float) -> tuple[str, str] | None:
    """Answer another step of the plan; if no step is due, change the request."""
    expected = expectations(conversation)[-1]
    if expected is None or not expected.steps:
        return contrast(conversation, seed, carelessness)
    due = expected.tips[0]
    step = stream(seed, "contrast").choice([step for step in expected.steps if step != due.aspect])
    return _about(Tip(due.topic, step), conversation, seed, carelessness, len(expected.tips))


def _about(tip: Tip, conversation: Conversation, seed: object, carelessness: float, count: int) -> tuple[str, str]:
    """Answer with another tip; return the request for it, and the answer."""
    expected = expectations(conversation)[-1]
    assert expected is not None, "the caller read it"
    said = draft(expected, seed, carelessness)
    said = replace(said, tips=(tip,) * (len(said.tips) or count))
    instruction = write_user(UserAct(Ask(AskKind.NEW, tip.topic, tip.aspect, count)), stream(seed, "instruction"))
    return instruction, write_reply(said, stream(seed, "words"))


CONTRASTS: dict[PromptKind, Callable[[Conversation, object, float], tuple[str, str] | None]] = {
    PromptKind.INSTRUCTION: contrast,
    PromptKind.DROP_CONSTRAINT: drop_constraint,
    PromptKind.PERSONA_SWAP: persona_swap,
    PromptKind.CONTRADICT: contradict,
    PromptKind.IGNORE_CORRECTION: ignore_correction,
    PromptKind.LOSE_GOAL: lose_goal,
}
"""The contrasts that answer in one call, by the kind of their prompt."""
