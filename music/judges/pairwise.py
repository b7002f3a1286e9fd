"""`PairwiseJudge`: which of two conversations is better, asked in both orders."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from music.conversation import Conversation
from music.judges.judgement import Judgement
from music.judges.model import JudgeModel
from music.llm.chat import ChatReply
from music.prompts import Choice, load_template, parse_judgement, render_judge

__all__ = ["PairJudgement", "PairwiseJudge"]

_POINTS = {Choice.FIRST: 1.0, Choice.TIE: 0.5, Choice.SECOND: 0.0}


@dataclass(frozen=True, slots=True)
class PairJudgement:
    """What a judge says of two conversations.

    Attributes:
        forward: Judgements with the first conversation shown first, one for each sample.
        backward: Those with the second shown first.
        is_identical: The two are the same, which is a tie, and nobody was asked.
    """

    forward: tuple[Judgement[Choice], ...] = ()
    backward: tuple[Judgement[Choice], ...] = ()
    is_identical: bool = False

    @property
    def score(self) -> float | None:
        """How often the first wins, ties counted half, both orders weighing the same.

        None if there is no judgement in one of the orders: the other alone would hold the judge's position bias.
        """
        if self.is_identical:
            return 0.5
        forward, backward = _points(self.forward), _points(self.backward)
        return None if forward is None or backward is None else (forward + 1 - backward) / 2

    @property
    def failure(self) -> Judgement[Choice] | None:
        """The first judgement that there is not, if any."""
        return next((each for each in (*self.forward, *self.backward) if each.problem is not None), None)


class PairwiseJudge:
    """Compares conversations by a language model.

    Args:
        model: Whom to ask. Its settings name the prompt and the number of samples.

    Raises:
        InvalidInputError: The prompt is none of a comparison.
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
            JournalError: A reply could not be kept.
        """
        if first == second:
            return PairJudgement(is_identical=True)
        forward, backward = await asyncio.gather(self._ask(first, second), self._ask(second, first))
        return PairJudgement(forward, backward)

    async def _ask(self, first: Conversation, second: Conversation) -> tuple[Judgement[Choice], ...]:
        messages = render_judge(first, second, self._template)
        samples = range(self.model.settings.num_samples)
        return tuple(await asyncio.gather(*(self.model.ask(messages, _read, sample=sample) for sample in samples)))


def _read(reply: ChatReply) -> Choice | None:
    return parse_judgement(reply.text)


def _points(judgements: Sequence[Judgement[Choice]]) -> float | None:
    """Return the mean points of the conversation shown first, over the judgements that there are."""
    points = [_POINTS[each.value] for each in judgements if each.value is not None]
    return sum(points) / len(points) if points else None
