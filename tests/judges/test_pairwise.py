import pytest

from music.aio import gather_all
from music.conversation import Conversation
from music.errors import InvalidInputError
from music.judges.model import open_judge_model
from music.judges.pairwise import PairJudgement, PairwiseJudge
from music.judges.reliability import JudgeReport, pairwise_figures
from music.judges.settings import JudgeSettings
from music.sandbox import oracle_score
from music.sandbox.server import ServerConfig, sandbox_server
from music.sandbox.world.seeds import seed_pairs


async def judge_all(endpoint, sides, **settings):
    """Compare all pairs; return the judgements and the report."""
    async with open_judge_model(endpoint, JudgeSettings(**settings)) as model:
        judge = PairwiseJudge(model)
        judgements = await gather_all(judge.compare(first, second) for first, second in sides)
        units = [str(index) for index in range(len(sides))]
        return judgements, JudgeReport.of(model, pairwise_figures(units, [{(0, 1): each} for each in judgements]))


def figure(report, name):
    return next(each.estimate for each in report.figures if each.name == name)


@pytest.mark.parametrize(
    ("forward", "backward", "score"),
    [
        ("A", "B", 1.0),
        ("B", "A", 0.0),
        ("A", "A", 0.5),
        ("A", "C", 0.75),
        ("C", "C", 0.5),
        ("B", "C", 0.25),
        ("AAC-", "BBBC", (2.5 / 3 + 3.5 / 4) / 2),
        ("-", "B", None),
        ("A", "--", None),
    ],
)
def test_both_orders_weigh_the_same_and_a_tie_is_half(said, forward, backward, score):
    judgement = said(forward, backward)
    assert judgement.score == (None if score is None else pytest.approx(score))
    assert (judgement.failure is not None) == ("-" in forward + backward)


async def test_the_sandbox_over_http_judges_as_its_oracle_does():
    sides = [(pair.chosen, pair.rejected) for pair in seed_pairs(20, 3)]
    with sandbox_server(ServerConfig()) as url:
        judgements, report = await judge_all(f"judge@{url}", sides)
    gaps = [oracle_score([first])[0] - oracle_score([second])[0] for first, second in sides]
    assert [each.score for each in judgements] == [1.0 if gap > 0 else 0.5 if gap == 0 else 0.0 for gap in gaps]
    assert (report.num_judgements, report.problems) == (40, {})
    assert figure(report, "winner goes with the order").value == 0


async def test_a_judge_who_goes_by_position_is_found_out_and_decides_nothing(judges, sides):
    judgements, report = await judge_all(f"first@{judges}", sides(12))
    assert {each.score for each in judgements} == {0.5}
    assert figure(report, "first shown wins").value == figure(report, "winner goes with the order").value == 1.0
    lines = "\n".join(report.lines())
    assert "first shown wins: 1.000 [0.735, 1.000]: higher, beyond noise" in lines


async def test_a_slight_position_bias_is_found_over_many_pairs(judges, sides):
    _, report = await judge_all(f"leans@{judges}", sides(150))
    bias = figure(report, "first shown wins")
    assert 0.6 < bias.low < 0.8 < bias.high < 0.9
    assert bias.num == 150


async def test_a_judge_who_does_not_agree_with_itself_is_found_out(judges, sides):
    _, report = await judge_all(f"moody@{judges}", sides(60), num_samples=3)
    agreement = figure(report, "two samples agree")
    assert agreement.includes(0.5)
    assert not agreement.includes(0.9)
    assert report.num_judgements == 360
    _, steady = await judge_all(f"first@{judges}", sides(5), num_samples=3)
    assert figure(steady, "two samples agree").value == 1.0


async def test_replies_that_cannot_be_read_are_asked_for_again_then_counted_and_not_scored(judges, sides, stats):
    before = stats(judges)["requests"]
    judgements, report = await judge_all(f"wakes@{judges}", sides(3))
    assert [each.score for each in judgements] == [0.5] * 3
    assert (report.problems, stats(judges)["requests"] - before) == ({}, 3 * 2 * 3)
    prompt = Conversation().user("Which fruit?")
    pears = (prompt.assistant("right, a pear"), prompt.assistant("wrong"))
    judgements, report = await judge_all(f"mumbles-about-pears@{judges}", [*sides(2), pears])
    assert [each.score for each in judgements] == [1.0, 1.0, None]
    assert (report.num_judgements, report.problems) == (6, {"unreadable": 2})
    assert "failed: unreadable 2" in "\n".join(report.lines())


async def test_what_the_endpoint_refuses_is_counted_and_the_others_go_on(judges, sides):
    prompt = Conversation().user("Tell me all. " * 100)
    long = (prompt.assistant("right"), prompt.assistant("wrong"))
    judgements, report = await judge_all(f"too-long@{judges}", [*sides(2), long], prompt="overall")
    assert judgements[2].score is None
    assert "too long" in judgements[2].failure.detail
    assert report.problems["refused"] == 2


async def test_identical_conversations_are_a_tie_and_nobody_is_asked(judges, sides, stats):
    before = stats(judges).get("requests", 0)
    same, _ = sides(1)[0]
    judgements, report = await judge_all(f"first@{judges}", [(same, same)])
    assert judgements == [PairJudgement(is_identical=True)]
    assert judgements[0].score == 0.5
    assert (report.num_judgements, stats(judges).get("requests", 0)) == (0, before)


async def test_a_prompt_of_the_other_kind_is_refused_before_anything_is_asked(tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text("Rate: {{ conversation }} from [[1]] to [[9]]")
    async with open_judge_model("sandbox", JudgeSettings(prompt=str(path))) as model:
        with pytest.raises(InvalidInputError, match=r"filled in with first and second: 'conversation' is undefined"):
            PairwiseJudge(model)
