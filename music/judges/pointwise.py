"""`PointwiseJudge` rates one conversation on a scale, using the ratings' probabilities if they are known."""

import asyncio
import math
from dataclasses import dataclass

from music.conversation import Conversation
from music.judges.model import Judgement, JudgeModel
from music.llm.chat import ChatReply
from music.prompts import HIGHEST, LOWEST, load_template, parse_rating, render_rate

__all__ = ["PointwiseJudge", "Rated", "Rating", "expected_rating"]

TOP_LOGPROBS = 20
"""The most that OpenAI's and vLLM's servers return."""


@dataclass(frozen=True, slots=True)
class Rating:
    """One rating.

    Attributes:
        value: The rating, on the scale.
        is_expected: Whether it is the mean over the ratings' probabilities rather than the written rating.
    """

    value: float
    is_expected: bool


@dataclass(frozen=True, slots=True)
class Rated:
    """A judge's ratings of one conversation.

    Attributes:
        ratings: One for each sample.
    """

    ratings: tuple[Judgement[Rating], ...]

    @property
    def score(self) -> float | None:
        """The mean over the samples that have a rating; None if none has."""
        values = [each.value.value for each in self.ratings if each.value is not None]
        return sum(values) / len(values) if values else None

    @property
    def failure(self) -> Judgement[Rating] | None:
        """The first missing rating, if any."""
        return next((each for each in self.ratings if each.problem is not None), None)


class PointwiseJudge:
    """Rates conversations with a language model.

    Args:
        model: The model to ask. Its settings name the prompt and the number of samples.

    Raises:
        InvalidInputError: The prompt does not rate a conversation.
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
            JournalError: A reply could not be written.
        """
        messages = render_rate(conversation, self._template)
        numbers = range(self.model.settings.num_samples)
        samples = (self.model.ask(messages, _read, sample=number, top_logprobs=TOP_LOGPROBS) for number in numbers)
        return Rated(tuple(await asyncio.gather(*samples)))


def expected_rating(reply: ChatReply, rating: int) -> float | None:
    """Return the mean rating, weighted by the probabilities of the alternatives to the written rating's token.

    Args:
        reply: A reply that ends with a rating.
        rating: That rating.

    Returns:
        sum(p_i * i) / sum(p_i) over the ratings i among the alternatives; None if no alternative is a rating.
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
