"""`PointwiseJudge`: how good one conversation is, on a scale, by the ratings' probabilities where known."""

import asyncio
import math
from dataclasses import dataclass

from music.conversation import Conversation
from music.judges.model import Judgement, JudgeModel
from music.llm.chat import ChatReply
from music.prompts import HIGHEST, LOWEST, load_template, parse_rating, render_rate

__all__ = ["PointwiseJudge", "Rated", "Rating", "expected_rating"]

TOP_LOGPROBS = 20
"""As many as OpenAI's and vLLM's servers give."""


@dataclass(frozen=True, slots=True)
class Rating:
    """One rating.

    Attributes:
        value: On the scale.
        is_expected: It is the mean over the probabilities of the ratings, not the one that was written.
    """

    value: float
    is_expected: bool


@dataclass(frozen=True, slots=True)
class Rated:
    """What a judge says of one conversation.

    Attributes:
        ratings: One for each sample.
    """

    ratings: tuple[Judgement[Rating], ...]

    @property
    def score(self) -> float | None:
        """The mean over the samples that there are; None if there are none."""
        values = [each.value.value for each in self.ratings if each.value is not None]
        return sum(values) / len(values) if values else None

    @property
    def failure(self) -> Judgement[Rating] | None:
        """The first rating that there is not, if any."""
        return next((each for each in self.ratings if each.problem is not None), None)


class PointwiseJudge:
    """Rates conversations by a language model.

    Args:
        model: Whom to ask. Its settings name the prompt and the number of samples.

    Raises:
        InvalidInputError: The prompt is none of a rating.
    """

    def __init__(self, model: JudgeModel) -> None:
        self.model = model
        self._template = load_template(model.settings.prompt)
        self._template.require("pointwise", ("conversation",), {"lowest": LOWEST, "highest": HIGHEST})

    def num_calls(self, num_completions: int) -> int:
        """Return how many judgements it takes to rate all completions of a prompt."""
        return num_completions * self.model.settings.num_samples

    async def rate(self, conversation: Conversation) -> Rated:
        """Ask for all samples at once.

        Raises:
            EndpointUnreachableError: There is no server.
            JournalError: A reply could not be kept.
        """
        samples = range(self.model.settings.num_samples)
        return Rated(tuple(await asyncio.gather(*(self._ask(conversation, sample) for sample in samples))))

    async def _ask(self, conversation: Conversation, sample: int) -> Judgement[Rating]:
        messages = render_rate(conversation, self._template)
        return await self.model.ask(messages, _read, sample=sample, top_logprobs=TOP_LOGPROBS)


def expected_rating(reply: ChatReply, rating: int) -> float | None:
    """Return the mean rating by the probabilities of the tokens in the place of the rating that was written.

    Args:
        reply: Ends with a rating.
        rating: That rating.

    Returns:
        The sum of p_i * i over the ratings i among the alternatives there, by the sum of p_i; None if there are none.
    """
    place = next((each for each in reversed(reply.logprobs) if each.token.strip() == str(rating)), None)
    if place is None:
        return None
    scale = {str(number): number for number in range(LOWEST, HIGHEST + 1)}
    shares = [(scale[text.strip()], math.exp(value)) for text, value in place.alternatives if text.strip() in scale]
    total = sum(share for _, share in shares)
    return sum(number * share for number, share in shares) / total if total else None


def _read(reply: ChatReply) -> Rating | None:
    rating = parse_rating(reply.text)
    if rating is None:
        return None
    expected = expected_rating(reply, rating)
    return Rating(float(rating), is_expected=False) if expected is None else Rating(expected, is_expected=True)
