import pytest

from music.aio import gather_all
from music.conversation import Message
from music.errors import InvalidInputError, MusicError
from music.judges.model import JudgeModel, Problem, open_judge_model
from music.judges.pairwise import PairwiseJudge
from music.judges.settings import JudgeSettings
from music.llm import ChatReply, ClientSettings, EndpointUnreachableError, ReplyOutcome, RetryPolicy
from music.llm.spending.model import BudgetReachedError

NO_PATIENCE = ClientSettings(retry=RetryPolicy(max_tries=1))


async def judge_all(endpoint, sides, journal=None, **settings):
    """Compare all pairs; return the scores and what was spent."""
    async with open_judge_model(endpoint, JudgeSettings(**settings), journal) as model:
        judge = PairwiseJudge(model)
        judgements = await gather_all(judge.compare(first, second) for first, second in sides)
        model.require_whole()
        return [each.score for each in judgements], model.ledger.spending()


async def test_nothing_is_paid_for_twice_whatever_the_settings(judges, sides, stats, tmp_path):
    before = stats(judges).get("requests", 0)
    scores, spending = await judge_all(f"leans@{judges}", sides(10), tmp_path / "j.sqlite")
    assert stats(judges)["requests"] - before == 20
    more = {"num_samples": 2, "max_in_flight": 1}
    again, total = await judge_all(f"leans@{judges}", sides(12), tmp_path / "j.sqlite", **more)
    assert again[:10] == scores
    assert stats(judges)["requests"] - before == 48  # 12 pairs, two orders, two samples: the first 20 replayed
    assert (spending.num_calls, total.num_calls, total.num_tokens) == (20, 48, 48 * 110)


async def test_judgements_of_another_run_are_free_with_a_cache(judges, sides, stats, tmp_path):
    spent = []
    for name in ("one", "two"):
        before = stats(judges).get("requests", 0)
        cached = {"cache": tmp_path / "cache.sqlite", "prices": ("leans=1000:1000",)}
        scores, spending = await judge_all(f"leans@{judges}", sides(10), tmp_path / name, **cached)
        spent.append((scores, stats(judges)["requests"] - before, spending.num_calls, spending.sum("num_reused")))
    (scores, *first), (again, *second) = spent
    assert (first, second) == ([20, 20, 0], [0, 0, 20])
    assert again == scores


async def test_the_budget_stops_it_and_a_larger_one_goes_on(judges, sides, stats, tmp_path):
    journal = tmp_path / "deep" / "j.sqlite"
    before = stats(judges)["requests"]
    bounds = {"max_in_flight": 4, "prices": ("leans=1000:1000",)}
    with pytest.raises(BudgetReachedError, match=r"1\.\d+ USD are spent of --judge-max-cost 1\.00.*j\.sqlite: raise"):
        await judge_all(f"leans@{judges}", sides(40), journal, max_cost=1.0, **bounds)
    num_paid = stats(judges)["requests"] - before
    assert 1.0 <= num_paid * 0.11 <= 1.0 + 4 * 0.11  # what was in flight is finished, and no more is sent
    with pytest.raises(BudgetReachedError):
        await judge_all(f"leans@{judges}", sides(40), journal, max_cost=1.0, **bounds)
    assert stats(judges)["requests"] - before == num_paid
    scores, spending = await judge_all(f"leans@{judges}", sides(40), journal, max_cost=9.0, **bounds)
    assert stats(judges)["requests"] - before == 80
    assert None not in scores
    assert spending.cost == pytest.approx(80 * 0.11)


async def test_a_bound_on_the_cost_needs_a_price(judges):
    with pytest.raises(InvalidInputError, match=r"--judge-max-cost: expected a price .* add --judge-price 'leans="):
        async with open_judge_model(f"leans@{judges}", JudgeSettings(max_cost=1.0)):
            pass


async def test_no_server_ends_it_at_once(sides):
    with pytest.raises(EndpointUnreachableError):
        await judge_all("m@http://127.0.0.1:9/v1", sides(30), client=NO_PATIENCE)


async def test_a_judge_is_read_without_its_thinking(judges, sides):
    scores, _ = await judge_all(f"thinks@{judges}", sides(3))
    firsts, _ = await judge_all(f"first@{judges}", sides(3))
    assert scores == firsts


async def test_a_judge_that_only_thinks_is_told_of_as_such(judges, sides):
    with pytest.raises(MusicError, match=r"all 6 judgements failed; the first: thought, .*'Perhaps \[\[B\]\]\.'"):
        await judge_all(f"only-thinks@{judges}", sides(3))


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (ReplyOutcome.COMPLETE, Problem.UNREADABLE),
        (ReplyOutcome.EMPTY, Problem.EMPTY),
        (ReplyOutcome.LENGTH, Problem.CUT),
        (ReplyOutcome.CONTENT_FILTER, Problem.FILTERED),
        (ReplyOutcome.TOOL_CALLS, Problem.TOOL_CALL),
        (ReplyOutcome.THOUGHT, Problem.THOUGHT),
    ],
)
async def test_every_end_of_a_reply_is_a_problem_of_its_own(outcome, problem):
    class Ends:
        name = "m@http://127.0.0.1:1/v1"

        async def complete(self, request):
            return ChatReply(text="", outcome=outcome, model="m")

    judgement = await JudgeModel(Ends()).ask((Message(role="user", content="A or B?"),), lambda reply: None)
    assert judgement.problem is problem


async def test_if_every_judgement_fails_that_is_an_error_with_the_first_reason(judges, sides):
    with pytest.raises(MusicError, match=r"all 6 judgements failed; the first: unreadable, .*'Hard to say\.'"):
        await judge_all(f"mumbles@{judges}", sides(3))
