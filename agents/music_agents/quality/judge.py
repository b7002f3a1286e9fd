"""The judge's gate: an independent judge must find the chosen side better, whichever side it is shown first."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
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
"""Choices as pairs record them."""
_JUDGEMENTS = {"first": "num_first_won", "second": "num_second_won", "tie": "num_ties"}
"""The figure that counts each."""
_PLACES = {Order.FORWARD: "chosen_first", Order.BACKWARD: "rejected_first"}
"""Orders as the keys of requests name them."""


class PairJudge(Protocol):
    """Anything that compares the two sides of a pair in both orders, once in each."""

    async def __call__(self, pair: ContrastivePair, view: GateView, /) -> PairJudgement:
        """Compare; forward is with the chosen side shown first.

        Raises:
            EndpointError: The judge's model gave no usable reply.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleJudge:
    """Judges conversations of the sandbox's world by its oracle.

    Attributes:
        margin: Differences of score up to this are a tie.
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
    """Asks a model as `PairwiseJudge` does, again with another seed while its judgement cannot be read.

    Seeds and keys of requests depend on the run and the pair, so that a resumed run asks nothing twice.

    Attributes:
        model: Whom to ask; better not the model that wrote the replies.
        sampling: How it samples.
        num_attempts: How often it is asked before it counts as undecided.
    """

    model: ChatModel
    sampling: Sampling = AS_THE_ENDPOINT_DOES
    num_attempts: int = MAX_ATTEMPTS

    async def __call__(self, pair: ContrastivePair, view: GateView) -> PairJudgement:
        """Ask in both orders, one after the other, as one call of a pair is in flight at any moment."""

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
    """What a judge said of the pairs of a run, the dropped ones included."""

    model_config = ConfigDict(frozen=True)

    num_confirmed: int = 0
    """Judged pairs that were kept: the chosen side won in both orders, or won one and tied the other."""
    num_refuted: int = 0
    """Judged pairs that were dropped."""
    num_undecided: int = 0
    """Pairs that were kept because a judgement could not be read."""
    num_contradictions: int = 0
    """Judged pairs in which the winner was whichever stood first, or whichever stood second."""
    num_first_won: int = 0
    """Judgements, of which a pair has two, for the conversation shown first."""
    num_second_won: int = 0
    """Judgements for the conversation shown second."""
    num_ties: int = 0
    """Judgements that call both equally good."""

    @property
    def first_share(self) -> float:
        """Share of the judgements with a winner that went to the first shown; 0.5 without position bias."""
        num = self.num_first_won + self.num_second_won
        return self.num_first_won / num if num else 0.5

    @classmethod
    def of(cls, judgements: Mapping[str, int]) -> Self:
        """Add up judgements as pairs record them, by how often each came; the empty one is left out."""
        figures = Counter[str]()
        for judgement, num in judgements.items():
            for figure in _figures_of(*judgement.split(",")) if judgement else ():
                figures[figure] += num
        return cls(**figures)


@dataclass(frozen=True, slots=True)
class JudgeGate:
    """Drops pairs whose chosen side a judge does not find better.

    A pair is judged twice, with either side first. It is kept if the chosen side wins both times, or wins once and
    ties once, and kept too if a judgement could not be read: an undecided judge is no reason to lose a pair.

    Attributes:
        judge: Who compares.
        share: Share of the pairs to judge, drawn by the run's seed and the pair's index.
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
        said = _WORDS[judgement.forward[0].value], _WORDS[judgement.backward[0].value]
        verdict = GateVerdict(usage=judgement.usage, judgement=",".join(said))
        if _fate(*said) != "num_refuted":
            return verdict
        detail = f"chosen first: {_in_words(said[0], 'chosen', 'rejected')}; "
        detail += f"rejected first: {_in_words(said[1], 'rejected', 'chosen')}"
        return replace(verdict, reason=FailureReason.JUDGE_DISAGREES, detail=detail)


def _figures_of(forward: str, backward: str) -> Iterator[str]:
    """Yield the figures that what a judge said of one pair counts for."""
    yield _fate(forward, backward)
    if forward == backward and forward in {"first", "second"}:
        yield "num_contradictions"
    yield from (_JUDGEMENTS[said] for said in (forward, backward) if said in _JUDGEMENTS)


def _fate(forward: str, backward: str) -> str:
    """Return the figure under which a pair goes."""
    if "unread" in (forward, backward):
        return "num_undecided"
    lead = (forward == "first") + (backward == "second") - (forward == "second") - (backward == "first")
    return "num_confirmed" if lead > 0 else "num_refuted"


def _in_words(said: str, first: str, second: str) -> str:
    """Say which side won."""
    return {"first": f"{first} won", "second": f"{second} won", "tie": "a tie"}[said]
