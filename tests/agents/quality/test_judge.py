from collections import Counter
from dataclasses import replace

import pytest

from music.errors import InvalidInputError
from music.judges import Judgement, PairJudgement
from music.llm import ChatReply, EndpointUnavailableError, ReplyOutcome, load_model
from music.pairs import Usage
from music.prompts import Choice
from music.sandbox import oracle_score
from music.sandbox.server import ServerConfig, sandbox_server
from music.sandbox.world.seeds import contrast_pairs, seed_pairs
from music_agents.failures import FailureReason
from music_agents.quality import GateView, JudgeFigures, JudgeGate, ModelJudge, OracleJudge

VIEW = GateView(pair=7, run_seed=1)


def scripted(*choices):
    """A judge that says one choice after the other, and counts a call for each."""
    left = list(choices)

    async def judge(pair, view):
        forward, backward = (Judgement(left.pop(0), usage=Usage(1, 10, 1)) for _ in range(2))
        return PairJudgement((forward,), (backward,))

    return judge


@pytest.mark.parametrize(
    ("forward", "backward", "kept"),
    [
        (Choice.FIRST, Choice.SECOND, True),
        (Choice.FIRST, Choice.TIE, True),
        (Choice.TIE, Choice.SECOND, True),
        (Choice.TIE, Choice.TIE, False),
        (Choice.FIRST, Choice.FIRST, False),
        (Choice.SECOND, Choice.SECOND, False),
        (Choice.SECOND, Choice.FIRST, False),
        (Choice.TIE, Choice.FIRST, False),
        (None, Choice.FIRST, True),
        (Choice.SECOND, None, True),
    ],
)
async def test_the_chosen_side_must_come_out_ahead(make_pair, forward, backward, kept):
    verdict = await JudgeGate(scripted(forward, backward))(make_pair(["good"], ["bad"]), VIEW)
    assert verdict.reason is (None if kept else FailureReason.JUDGE_DISAGREES)
    assert verdict.usage == Usage(2, 20, 2)


async def test_both_orders_are_shown(make_pair):
    model = Scripted("[[C]]", "[[C]]")
    verdict = await JudgeGate(ModelJudge(model=model))(make_pair(["good"], ["bad"]), VIEW)
    shown = [request.messages[0].content for request in model.requests]
    assert [text.index("good") < text.index("bad") for text in shown] == [True, False]
    assert [request.key for request in model.requests] == ["7/judge/chosen_first/0", "7/judge/rejected_first/0"]
    assert verdict.detail == "chosen first: a tie; rejected first: a tie"


async def test_position_bias_shows_in_the_figures(make_pair):
    pair = make_pair(["good"], ["bad"])
    gate = JudgeGate(
        scripted(*[Choice.FIRST] * 6, Choice.FIRST, Choice.SECOND, Choice.TIE, Choice.TIE, Choice.TIE, None)
    )
    judgements = Counter([(await gate(pair, GateView(pair=i, run_seed=0))).judgement for i in range(6)])
    assert judgements == {"first,first": 3, "first,second": 1, "tie,tie": 1, "tie,unread": 1}
    expected = JudgeFigures(
        num_confirmed=1,
        num_refuted=4,
        num_undecided=1,
        num_contradictions=3,
        num_first_won=7,
        num_second_won=1,
        num_ties=3,
    )
    figures = JudgeFigures.of(judgements | {"": 5})
    assert figures == expected
    assert figures.first_share == 7 / 8


async def test_a_share_is_drawn_by_seed_and_index_alone(make_pair):
    pair = make_pair(["good"], ["bad"])

    async def judged(indices, run_seed=0):
        gate = JudgeGate(scripted(*[Choice.TIE] * 800), share=0.25)
        return {i for i in indices if (await gate(pair, GateView(pair=i, run_seed=run_seed))).reason}

    drawn = await judged(range(400))
    assert drawn == await judged(reversed(range(400)))
    assert drawn != await judged(range(400), run_seed=1)
    assert 70 <= len(drawn) <= 130


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_is_a_share(share):
    with pytest.raises(InvalidInputError, match="share"):
        JudgeGate(OracleJudge(), share=share)


class Scripted:
    """A model with a list of replies."""

    name = "scripted"

    def __init__(self, *replies):
        self.replies = list(replies)
        self.requests = []

    async def complete(self, request):
        self.requests.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        outcome = ReplyOutcome.LENGTH if reply.startswith("cut") else ReplyOutcome.COMPLETE
        return ChatReply(text=reply, outcome=outcome, model="m", prompt_tokens=10, completion_tokens=2)

    async def aclose(self):
        pass


async def test_a_model_is_asked_again_until_it_can_be_read(make_pair):
    model = Scripted("I cannot say.", "cut [[A]]", "B forgot the name. [[A]]", "[[B]]")
    judgement = await ModelJudge(model=model)(make_pair(["Ho"], ["Hu"]), VIEW)
    assert judgement.forward == (Judgement(Choice.FIRST, usage=Usage(3, 30, 6)),)
    assert judgement.backward == (Judgement(Choice.SECOND, usage=Usage(1, 10, 2)),)
    assert [request.key for request in model.requests][:3] == [f"7/judge/chosen_first/{n}" for n in range(3)]
    assert len({request.seed for request in model.requests}) == 4
    assert {request.route for request in model.requests} == {"7"}


async def test_a_model_that_cannot_be_read_is_undecided_and_an_endpoints_error_goes_up(make_pair):
    gate = JudgeGate(ModelJudge(model=Scripted(*["hm"] * 6)))
    verdict = await gate(make_pair(["good"], ["bad"]), VIEW)
    assert (verdict.reason, verdict.usage.num_calls, verdict.judgement) == (None, 6, "unread,unread")
    with pytest.raises(EndpointUnavailableError):
        await JudgeGate(ModelJudge(model=Scripted(EndpointUnavailableError("down"))))(make_pair(["a"], ["b"]), VIEW)


async def test_the_sandbox_judges_over_http_as_its_oracle_does(make_pair):
    seeds = [*contrast_pairs(10, seed=3), *seed_pairs(10, seed=3)]
    fields = {"seed_id": "s", "num_seed_messages": 0, "contrasts": (), "models": {}, "usage": Usage(), "seed": 0}
    blank = make_pair(["a"], ["b"])
    pairs = [blank.model_copy(update={"chosen": s.chosen, "rejected": s.rejected} | fields) for s in seeds]
    with sandbox_server(ServerConfig()) as url:
        model = load_model(f"judge@{url}")
        by_model, by_oracle = JudgeGate(ModelJudge(model=model)), JudgeGate(OracleJudge())
        judgements = Counter[str]()
        for index, pair in enumerate(pairs):
            view = GateView(pair=index, run_seed=0)
            verdict = await by_model(pair, view)
            assert replace(verdict, usage=Usage()) == await by_oracle(pair, view)
            judgements[verdict.judgement] += 1
            better, worse = oracle_score([pair.chosen, pair.rejected])
            assert (verdict.reason is None) == (better > worse)
        await model.aclose()
    figures = JudgeFigures.of(judgements)
    assert figures.num_confirmed + figures.num_refuted == len(pairs)
    assert figures.num_refuted > 0
