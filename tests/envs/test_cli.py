import re

import orjson
import pytest
import typer
from typer.testing import CliRunner

from music.conversation import Conversation
from music.errors import InvalidInputError, MusicError
from music.llm.chat import Sampling
from music.pairs import PreferencePair
from music.preferences import write_preferences
from music.reward import load_reward
from music.sandbox import oracle_score
from music.sandbox.server import ServerConfig, sandbox_server
from music_envs.cli import best_of_n

APP = typer.Typer()
APP.command()(best_of_n)
SMALL = ("--num-conversations", 8, "--turns", 2, "--n", 3)


def run(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def preferences(tmp_path):
    prompt = Conversation().user("Name a tea.").assistant("Green.").user("Another one?")
    pairs = [
        PreferencePair(id=str(i), chosen=prompt.assistant(f"Black, {i}."), rejected=prompt.assistant("No."))
        for i in range(3)
    ]
    path = tmp_path / "pairs.jsonl"
    write_preferences(pairs, path)
    return path


def test_two_selectors_on_the_sandbox(tmp_path):
    out = tmp_path / "out"
    result = run(
        *("--reward", "oracle", "--baseline", "random", "--num-conversations", 12, "--turns", 2),
        *("--n", 3, "--out", out, "--json"),
    )
    assert result.exit_code == 0
    report = orjson.loads(result.stdout)
    assert report["judge"] == "oracle"
    assert report["config"]["num_candidates"] == 3
    oracle, random = (arm["grade"] for arm in report["arms"])
    assert oracle["num"] == random["num"] == 12
    assert report["comparison"]["difference"]["value"] == pytest.approx(oracle["value"] - random["value"])
    for arm in ("reward", "baseline"):
        rows = [orjson.loads(line) for line in (out / f"{arm}.jsonl").read_text().splitlines()]
        assert [row["index"] for row in rows] == list(range(12))
        assert all(len(decision["candidates"]) == 3 for row in rows for decision in row["decisions"])


@pytest.mark.parametrize("mode", ["greedy", "whole"])
def test_the_report_tells_what_fewer_candidates_would_have_brought(mode):
    result = run("--reward", "length", "--mode", mode, "--num-conversations", 10, "--n", 3, "--turns", 2, "--json")
    report = orjson.loads(result.stdout)
    (arm,) = report["arms"]
    assert report["mode"] == mode
    assert [row["num_candidates"] for row in arm["by_n"]] == [1, 2, 3]
    rewards = [row["reward"]["value"] for row in arm["by_n"]]
    assert rewards == sorted(rewards)
    if mode == "whole":
        assert rewards[-1] == pytest.approx(arm["reward"]["value"])
        assert arm["by_n"][-1]["grade"]["value"] == pytest.approx(arm["grade"]["value"])
    assert arm["by_n"][0]["gap"]["value"] == 0


@pytest.mark.parametrize(
    ("options", "strategy"),
    [
        (("beam", "--width", 3), {"width": 3}),
        (("beam",), {"width": 2}),
        (("anytime", "--margin", 30), {"margin": 30.0, "token_budget": None, "round_size": 1}),
        (
            ("anytime", "--token-budget", 300, "--round-size", 2),
            {"margin": None, "token_budget": 300, "round_size": 2},
        ),
    ],
)
def test_modes_take_options_of_their_own_and_report_what_was_spent(options, strategy, tmp_path):
    small = ("--num-conversations", 4, "--turns", 2, "--n", 4, "--json", "--out", tmp_path)
    report = orjson.loads(run("--reward", "length", "--mode", *options, *small).stdout)
    assert report["strategy"] == strategy
    (arm,) = report["arms"]
    rows = [orjson.loads(line) for line in (tmp_path / "reward.jsonl").read_text().splitlines()]
    for kind in ("num_calls", "prompt_tokens", "completion_tokens"):
        assert arm["usage"][kind] == sum(row["usage"][kind] for row in rows) > 0
    assert arm["by_n"] == []  # candidates that depend on each other's scores tell nothing of fewer


def test_options_of_another_mode_are_refused_and_not_ignored():
    with pytest.raises(InvalidInputError, match="mode beam: expected --width, got --margin"):
        run("--reward", "length", "--mode", "beam", "--margin", 1)
    with pytest.raises(InvalidInputError, match="mode greedy: expected no flags of other modes, got --width"):
        run("--reward", "length", "--width", 3)


def test_rollouts_outlive_a_judge_that_fails(tmp_path, monkeypatch):
    def fails(conversations):
        raise MusicError("the judge is down")

    real = load_reward
    monkeypatch.setattr(
        "music_envs.best_of_n.evaluation.load_reward", lambda spec: fails if spec == "random:9" else real(spec)
    )
    with pytest.raises(MusicError, match="the judge is down"):
        run("--reward", "length", "--judge", "random:9", "--num-conversations", 2, "--turns", 1, "--out", tmp_path)
    rows = [orjson.loads(line) for line in (tmp_path / "reward.jsonl").read_text().splitlines()]
    assert [row["grade"] for row in rows] == [None, None]


def test_a_reward_that_fails_loses_no_reply(tmp_path, scripted, monkeypatch):
    """Further sessions pay for what was not said yet, whatever their settings."""
    models, real = [], load_reward

    def opened(spec, settings):
        models.append(scripted(name=spec))
        return models[-1]

    def fails_at_last(conversations):
        if len(conversations) and conversations[0].num_turns == 2:
            raise MusicError("the reward is down")
        return real("length")(conversations)

    def session(reward, *options):
        del models[:]
        run(*("--reward", reward, "--num-conversations", 2, "--turns", 2, "--out", tmp_path, *options))
        return [len(model.requests) for model in models]

    monkeypatch.setattr("music_envs.players.load_model", opened)
    monkeypatch.setattr(
        "music_envs.scoring.load_reward", lambda spec: fails_at_last if spec == "random:9" else real(spec)
    )
    with pytest.raises(MusicError, match="the reward is down"):
        session("random:9")
    assert [len(model.requests) for model in models] == [2 * 4 * 2, 2]
    assert session("length") == [0, 0]
    assert 2 <= sum(session("length", "--n", 5)) <= 2 + 2 + 2 * 5
    assert session("length", "--n", 5) == [0, 0]
    assert len((tmp_path / "reward.jsonl").read_text().splitlines()) == 2


def test_options_reach_their_player(scripted, monkeypatch):
    models, clients = [], []

    def opened(spec, settings):
        models.append(scripted(name=spec))
        clients.append(settings)
        return models[-1]

    monkeypatch.setattr("music_envs.players.load_model", opened)
    options = ("--option", "assistant.top_p=0.5", "--option", "user.stop=X", "--option", "user.query.v=1")
    run("--reward", "length", "--num-conversations", 1, "--turns", 2, "--temperature", 0.2, "--patience", 9, *options)
    sampled = [{request.sampling for request in model.requests} for model in models]
    assert sampled == [{Sampling(temperature=0.2, top_p=0.5)}, {Sampling(stop=("X",))}]
    assert [client.retry.patience for client in clients] == [9, 9]
    assert [client.connection.query_values() for client in clients] == [{}, {"v": "1"}]
    with pytest.raises(InvalidInputError, match="got both"):
        run("--reward", "length", "--temperature", 0.2, "--option", "temperature=1")


def test_people_get_a_table_and_words():
    result = run("--reward", "length", "--baseline", "length", "--num-conversations", 4, "--turns", 1)
    assert "Best-of-4, 1 turns, 4 conversations" in result.stdout
    assert "within noise" in result.stdout
    assert "selector length" in result.stderr


def test_prompts_of_a_preference_file_are_continued_and_no_judge_is_assumed(preferences, tmp_path):
    out = tmp_path / "out"
    result = run(
        "--reward", "length", "--seeds", preferences, "--num-conversations", 5, "--turns", 1, "--json", "--out", out
    )
    assert result.exit_code == 0
    report = orjson.loads(result.stdout)
    assert (report["judge"], report["arms"][0]["grade"], report["num_conversations"]) == (None, None, 3)
    first = orjson.loads((out / "reward.jsonl").read_text().splitlines()[0])
    assert [m["content"] for m in first["messages"][:3]] == ["Name a tea.", "Green.", "Another one?"]
    assert len(first["messages"]) == 4


def test_without_a_judge_no_grade_and_no_gap_is_explained(preferences):
    shown = run("--reward", "length", "--seeds", preferences, "--num-conversations", 3, "--turns", 1, "--n", 2).stdout
    assert "the best of n at one choice" in shown
    assert not re.search("judge|grade|gap", shown)


def test_the_oracle_does_not_judge_users_of_another_model():
    with sandbox_server(ServerConfig()) as url:
        shown = run("--reward", "length", "--user", f"m@{url}", "--num-conversations", 2, "--turns", 2, "--n", 2).stdout
    assert not re.search("oracle|grade", shown)


def test_a_file_without_usable_pairs_is_refused(tmp_path):
    path = tmp_path / "pairs.jsonl"
    same = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    path.write_bytes(orjson.dumps({"chosen": same, "rejected": same}))
    with pytest.raises(InvalidInputError, match="none"):
        run("--reward", "length", "--seeds", path)


def test_if_nothing_finished_the_command_fails_with_the_reason(scripted, monkeypatch):
    models = []

    def dead(spec, settings):
        models.append(scripted(fails=range(100)))
        return models[-1]

    monkeypatch.setattr("music_envs.players.load_model", dead)
    with pytest.raises(MusicError, match="all 2 conversations failed; the first: scripted is down"):
        run("--reward", "length", "--num-conversations", 2, "--turns", 1)
    assert [model.num_closed for model in models] == [1, 1]


def test_progress_is_shown_where_there_is_no_terminal():
    result = run("--reward", "length", "--num-conversations", 4, "--n", 2, "--turns", 1, "--max-reply-tokens", 9)
    assert re.search(r"^replies: \d+ of at most 12, 0:00:\d\d, done$", result.stderr, re.MULTILINE)


def test_what_can_be_wrong_is_found_before_any_reply(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="did you mean 'oracle'"):
        run("--reward", "length", "--baseline", "orcale")
    with pytest.raises(InvalidInputError, match="did you mean 'oracle'"):
        run("--reward", "length", "--judge", "oracel")
    with pytest.raises(InvalidInputError, match="is a file"):
        run("--reward", "length", "--out", tmp_path / "file")


def test_a_model_behind_a_server_compares_the_two_selectors(tmp_path):
    arms = ("--reward", "oracle", "--baseline", "random")
    with sandbox_server(ServerConfig()) as url:
        judged = ("--judge", f"judge:m@{url}", "--judge-prompt", "rubric", "--out", tmp_path)
        report = orjson.loads(run(*arms, *SMALL, *judged, "--json").stdout)
        text = run(*arms, *SMALL, *judged).stdout
    conversations = {
        arm: [
            Conversation.from_messages(orjson.loads(line)["messages"])
            for line in (tmp_path / f"{arm}.jsonl").read_text().splitlines()
        ]
        for arm in ("reward", "baseline")
    }
    grades = zip(*(oracle_score(each) for each in conversations.values()), strict=True)
    points = [1.0 if one > other else 0.5 if one == other else 0.0 for one, other in grades]
    assert report["comparison"]["win_rate"]["value"] == pytest.approx(sum(points) / 8)
    rows = [orjson.loads(line) for line in (tmp_path / "judgements.jsonl").read_text().splitlines()]
    assert [row["score"] for row in rows] == points
    assert report["comparison"]["judge"]["prompt"] == "rubric"
    assert [arm["grade"] for arm in report["arms"]] == [None, None]
    assert "oracle against random: win rate" in text
    assert "first shown wins" in text


def test_a_judge_who_compares_needs_a_baseline():
    with pytest.raises(InvalidInputError, match="expected --baseline too"):
        run("--reward", "oracle", "--judge", "judge:sandbox", *SMALL)


def test_flags_of_a_judge_are_refused_where_a_reward_grades():
    with pytest.raises(InvalidInputError, match="--judge-samples: expected a judge"):
        run("--reward", "oracle", "--judge", "length", "--judge-samples", 3, *SMALL)


def test_a_reward_behind_a_server_selects_what_the_same_reward_selects_in_this_process(reward_server):
    names = [f"rm@{reward_server}", "length"]
    results = [run("--reward", name, *SMALL, "--json") for name in names]
    arms = [orjson.loads(result.stdout)["arms"][0] for result in results]
    assert [arm.pop("selector") for arm in arms] == names
    assert arms[0] == arms[1]
