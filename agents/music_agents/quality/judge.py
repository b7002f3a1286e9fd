"""`JudgeGate`: a judge must prefer the chosen side, whichever side is shown first."""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, Self

from pydantic import BaseModel, ConfigDict

from music.conversation import Message
from music.errors import InvalidInputError
from music.judges.model import Judgement, ask_until_read
from music.judges.pairwise import Order, PairJudgement, compare_in_both_orders, read_choice
from music.llm.chat import AS_THE_ENDPOINT_DOES, ChatModel, ChatRequest, Sampling
from music.pairs import ContrastivePair
from music.prompts import Choice
from music.registry import ORACLE, load_built_in
from music.seeding import derive_seed
from music_agents.failures import FailureReason
from music_agents.quality.gates import PASSED, GateVerdict, GateView
from music_agents.roles import MAX_ATTEMPTS

__all__ = ["JudgeFigures", "JudgeGate", "ModelJudge", "OracleJudge", "PairJudge"]

_WORDS = {Choice.FIRST: "first", Choice.SECOND: "second", Choice.TIE: "tie", None: "unread"}
"""Choices as recorded in pairs."""
_JUDGEMENTS = {"first": "num_first_won", "second": "num_second_won", "tie": "num_ties"}
"""The field of `JudgeFigures` that counts each choice."""
_PLACES = {Order.FORWARD: "chosen_first", Order.BACKWARD: "rejected_first"}
"""Orders as named in the keys of requests."""


class PairJudge(Protocol):
    """Anything that compares the two sides of a pair in both orders, once in each."""

    async def __call__(self, pair: ContrastivePair, view: GateView, /) -> PairJudgement:
        """Compare the sides; in the forward order the chosen side is shown first.

        Raises:
            EndpointError: The judge's model gave no usable reply.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleJudge:
    """Judges conversations of the sandbox with its oracle.

    Attributes:
        margin: Score differences up to this are a tie.
    """

    margin: float = 0.0

    async def __call__(self, pair: ContrastivePair, view: GateView) -> PairJudgement:
        """Compare the scores."""
        compare = load_built_in("judge", ORACLE)
        sides = pair.chosen, pair.rejected
        forward, backward = compare(*sides, self.margin), compare(*sides[::-1], self.margin)
        return PairJudgement((Judgement(forward),), (Judgement(backward),))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelJudge:
    """Asks a model as `PairwiseJudge` does; asks again with another seed while its judgement cannot be read.

    Seeds and keys of requests depend on the run and the pair, so a resumed run asks nothing twice.

    Attributes:
        model: The model to ask. It should not be the model that wrote the replies.
        sampling: The model's sampling parameters.
        num_attempts: Number of attempts before the judgement counts as unreadable.
    """

    model: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES
    num_attempts: int = MAX_ATTEMPTS

    async def __call__(self, pair: ContrastivePair, view: GateView) -> PairJudgement:
        """Ask in both orders, one after the other: a pair has one call in flight at a time."""

        async def ask(messages: tuple[Message, ...], order: Order) -> tuple[Judgement[Choice], ...]:
            places = (f"judge/{_PLACES[order]}/{attempt}" for attempt in range(self.num_attempts))
            requests = (
                ChatRequest(
                    messages=messages,
                    seed=derive_seed(view.run_seed, view.pair, place),
                    sampling=self.sampling,
                    key=f"{view.pair}/{place}",
                    route=str(view.pair),
                )
                for place in places
            )
            return (await ask_until_read(self.model, requests, read_choice),)

        return await compare_in_both_orders(pair.chosen, pair.rejected, ask, at_once=False)


class JudgeFigures(BaseModel):
    """A judge's results for the pairs of a run, including the dropped ones."""

    model_config = ConfigDict(frozen=True)

    num_confirmed: int = 0
    """Judged pairs that were kept: the chosen side won in both orders, or won one and tied the other."""
    num_refuted: int = 0
    """Judged pairs that were dropped."""
    num_undecided: int = 0
    """Pairs that were kept because a judgement was unreadable."""
    num_contradictions: int = 0
    """Judged pairs in which the first shown won both times, or the second shown."""
    num_first_won: int = 0
    """Judgements for the conversation shown first; a pair has two judgements."""
    num_second_won: int = 0
    """Judgements for the conversation shown second."""
    num_ties: int = 0
    """Judgements that find both equally good."""

    @property
    def first_share(self) -> float:
        """How often the first shown wins, among judgements with a winner; 0.5 without position bias."""
        num = self.num_first_won + self.num_second_won
        return self.num_first_won / num if num else 0.5

    @classmethod
    def of(cls, judgements: Mapping[str, int]) -> Self:
        """Sum judgements, given their counts by `ContrastivePair.judgement`; empty ones are left out."""
        figures = Counter[str]()
        for judgement, num in judgements.items():
            if not judgement:
                continue
            forward, backward = judgement.split(",")
            figures[_outcome(forward, backward)] += num
            if forward == backward and forward in {"first", "second"}:
                figures["num_contradictions"] += num
            for choice in (forward, backward):
                if choice in _JUDGEMENTS:
                    figures[_JUDGEMENTS[choice]] += num
        return cls(**figures)


@dataclass(frozen=True, slots=True)
class JudgeGate:
    """Drops pairs if a judge does not prefer the chosen side.

    A pair is judged twice, with either side first. It is kept if the chosen side wins both times, or wins once and
    ties once. It is also kept if a judgement cannot be read.

    Attributes:
        judge: Compares the two sides.
        share: Share of the pairs to judge, drawn from the run's seed and the pair's index.
    """

    judge: PairJudge
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InvalidInputError(f"expected the share of pairs to judge in (0, 1], got {self.share}")

    async def __call__(self, pair: ContrastivePair, view: GateView) -> GateVerdict:
        """Judge the pair in both orders, if it is drawn."""
        if random.Random(derive_seed(view.run_seed, view.pair, "judged")).random() >= self.share:
            return PASSED
        judgement = await self.judge(pair, view)
        forward, backward = _WORDS[judgement.forward[0].value], _WORDS[judgement.backward[0].value]
        verdict = GateVerdict(usage=judgement.usage, judgement=f"{forward},{backward}")
        if _outcome(forward, backward) != "num_refuted":
            return verdict
        detail = f"chosen first: {_in_words(forward, 'chosen', 'rejected')}; "
        detail += f"rejected first: {_in_words(backward, 'rejected', 'chosen')}"
        return replace(verdict, reason=FailureReason.JUDGE_DISAGREES, detail=detail)


def _outcome(forward: str, backward: str) -> str:
    """Return the field of `JudgeFigures` that counts a pair."""
    if "unread" in (forward, backward):
        return "num_undecided"
    lead = (forward == "first") + (backward == "second") - (forward == "second") - (backward == "first")
    return "num_confirmed" if lead > 0 else "num_refuted"


def _in_words(choice: str, first: str, second: str) -> str:
    """Return which side won, in words."""
    return {"first": f"{first} won", "second": f"{second} won", "tie": "a tie"}[choice]
