"""Comparing two conversations in both orders.

`PairwiseJudge` asks a `JudgeModel`; `compare_in_both_orders` calls a function of its caller.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from music.conversation import Conversation, Message
from music.judges.model import Judgement, JudgeModel
from music.llm.chat import ChatReply
from music.pairs import Usage
from music.prompts import Choice, PromptTemplate, load_template, parse_judgement, render_judge

__all__ = ["Order", "PairJudgement", "PairwiseJudge", "compare_in_both_orders", "read_choice"]

_POINTS = {Choice.FIRST: 1.0, Choice.TIE: 0.5, Choice.SECOND: 0.0}


class Order(StrEnum):
    """Which of two conversations is shown first."""

    FORWARD = "forward"
    """The first."""
    BACKWARD = "backward"
    """The second."""


AskForChoices = Callable[[tuple[Message, ...], Order], Awaitable[tuple[Judgement[Choice], ...]]]
"""Asks for the judgements of one prompt, one for each sample."""


@dataclass(frozen=True, slots=True)
class PairJudgement:
    """A judge's comparison of two conversations.

    Attributes:
        forward: Judgements with the first conversation shown first, one for each sample.
        backward: Judgements with the second conversation shown first.
        is_identical: The two are the same: a tie, without asking the judge.
    """

    forward: tuple[Judgement[Choice], ...] = ()
    backward: tuple[Judgement[Choice], ...] = ()
    is_identical: bool = False

    @property
    def score(self) -> float | None:
        """How often the first wins; a tie counts half, and both orders weigh the same.

        None if one of the orders has no judgement: the other alone would contain the judge's position bias.
        """
        if self.is_identical:
            return 0.5
        forward, backward = _points(self.forward), _points(self.backward)
        return None if forward is None or backward is None else (forward + 1 - backward) / 2

    @property
    def partial_score(self) -> float:
        """How often the first wins in the orders that have a judgement; a half if none has.

        JudgeBench's own code counts this. It rewards a judge for a missing order: a judge that must win in both orders
        misses more pairs.
        """
        if self.is_identical:
            return 0.5
        forward, backward = _points(self.forward), _points(self.backward)
        found = [points for points in (forward, None if backward is None else 1 - backward) if points is not None]
        return sum(found) / len(found) if found else 0.5

    @property
    def usage(self) -> Usage:
        """Calls and tokens of both orders."""
        return sum((each.usage for each in (*self.forward, *self.backward)), Usage())

    @property
    def failure(self) -> Judgement[Choice] | None:
        """The first missing judgement, if any."""
        return next((each for each in (*self.forward, *self.backward) if each.problem is not None), None)


class PairwiseJudge:
    """Compares conversations with a language model.

    Args:
        model: The model to ask. Its settings name the prompt and the number of samples.

    Raises:
        InvalidInputError: The prompt does not compare two conversations.

    Example:
        >>> import asyncio
        >>> from music.conversation import Conversation
        >>> from music.llm import load_model
        >>> conversation = Conversation().user("Which tea?").assistant("Green.")
        >>> judge = PairwiseJudge(JudgeModel(load_model("sandbox")))
        >>> asyncio.run(judge.compare(conversation, conversation)).score
        0.5
    """

    def __init__(self, model: JudgeModel) -> None:
        self.model = model
        self._template = load_template(model.settings.prompt)
        self._template.require("pairwise", ("first", "second"))

    def num_calls(self, num_completions: int) -> int:
        """Return how many judgements it takes to compare all completions of a prompt with each other."""
        return num_completions * (num_completions - 1) * self.model.settings.num_samples

    async def compare(self, first: Conversation, second: Conversation) -> PairJudgement:
        """Ask in both orders, all samples at once; identical conversations are a tie without asking.

        Raises:
            EndpointUnreachableError: There is no server.
            JournalError: A reply could not be written.
        """
        if first == second:
            return PairJudgement(is_identical=True)
        return await compare_in_both_orders(first, second, self._ask, self._template)

    async def _ask(self, messages: tuple[Message, ...], _order: Order) -> tuple[Judgement[Choice], ...]:
        numbers = range(self.model.settings.num_samples)
        samples = (self.model.ask(messages, read_choice, sample=number) for number in numbers)
        return tuple(await asyncio.gather(*samples))


async def compare_in_both_orders(
    first: Conversation,
    second: Conversation,
    ask: AskForChoices,
    template: PromptTemplate | None = None,
    *,
    at_once: bool = True,
) -> PairJudgement:
    """Ask which of two conversations is better, with either shown first.

    Args:
        first: A conversation.
        second: Another conversation.
        ask: Asks for the judgements of a prompt.
        template: The prompt's template; None for the default one.
        at_once: Whether both orders are asked at the same time; otherwise the second waits for the first.
    """
    prompts = render_judge(first, second, template), render_judge(second, first, template)
    if at_once:
        forward, backward = await asyncio.gather(ask(prompts[0], Order.FORWARD), ask(prompts[1], Order.BACKWARD))
        return PairJudgement(forward, backward)
    return PairJudgement(await ask(prompts[0], Order.FORWARD), await ask(prompts[1], Order.BACKWARD))


def read_choice(reply: ChatReply) -> Choice | None:
    """Read the choice that a reply ends with; None if it cannot be read."""
    return parse_judgement(reply.text)


def _points(judgements: Sequence[Judgement[Choice]]) -> float | None:
    """Return the mean points of the conversation shown first; None without a judgement."""
    points = [_POINTS[each.value] for each in judgements if each.value is not None]
    return sum(points) / len(points) if points else None
