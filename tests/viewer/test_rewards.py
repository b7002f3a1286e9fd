"""Rewards of pairs: from models, servers, functions and files of scores, in the background and kept."""

import threading
from contextlib import closing, contextmanager

import pytest

from music.conversation import Conversation, Message
from music.errors import InvalidInputError, MusicError
from music.preferences.files import file_rows
from music.reward import RewardModel
from music.viewer.charts import chart_of
from music.viewer.commands import report_labels
from music.viewer.config import ViewerConfig
from music.viewer.index import Index
from music.viewer.labels import Label, LabelStore, Verdict
from music.viewer.query import Query
from music.viewer.records import Kind, Record, Side
from music.viewer.reward_sources import FileRewards, ModelRewards, reward_sources
from music.viewer.rewards import PairRewards
from music.viewer.rows import read_records
from music.viewer.scores import DISAGREEMENT, ScoreStore, margin_name, preference_name
from music.viewer.scoring import Scorers
from tests.viewer.conftest import FRUIT, pair_of, said, serving, write_lines
from tests.viewer.test_server import ask, viewing


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_lines(path, FRUIT, *map(pair_of, range(5)))
    return path


def pairs_in(path):
    return [record for row in file_rows(path) for record in read_records(row, "set")]


def keys_of(index, **query):
    return {each.id: each.key for each in index.listing(Query(**query)).records}


def named(name, score, fingerprint="one"):
    """Return a source whose margin of a pair is a function of its id; its rewards are 0."""

    class Source:
        batch_size = 1

        def __init__(self):
            self.name, self.seen = name, []

        def load(self):
            return fingerprint

        def score(self, pairs):
            self.seen += [pair.id for pair in pairs]
            return [PairRewards((0.0,), (0.0,), score(pair.id)) for pair in pairs]

    return Source()


@contextmanager
def scored(index, *sources):
    """Score an index in the background; yield the scorers once all is scored."""
    scorers = Scorers(sources, index.path)
    with scorers.running():
        wait(lambda: all(each.is_done for each in scorers.all))
        yield scorers


def wait(is_true):
    pause = threading.Event()
    for _ in range(3000):
        if is_true():
            return
        pause.wait(0.01)
    pytest.fail("nothing happened for 30 seconds")


def test_a_function_is_asked_about_each_turn(rows):
    (found,) = loaded_rewards("length").score(pairs_in(rows)[:1])
    assert found == PairRewards((9.0, 26.0, 38.0), (9.0, 27.0, 39.0), -1.0)


def loaded_rewards(name):
    source = ModelRewards(str(name))
    source.load()
    return source


def test_rewards_are_those_of_the_model_and_of_its_file_of_scores(rows, reward_checkpoint, tmp_path):
    from music.preferences import read_preferences
    from music.reward.report import report_pairs

    path = reward_checkpoint()
    model = RewardModel.from_pretrained(path)
    pairs = read_preferences(rows).pairs
    report = report_pairs(model, pairs, per_turn=True)
    write_lines(tmp_path / "scores.jsonl", *report.rows)
    source = loaded_rewards(path)
    assert source.load() == model.fingerprint
    found, records = source.score(pairs_in(rows)), pairs_in(rows)
    plain = model.score([pair.chosen for pair in pairs]), model.score([pair.rejected for pair in pairs])
    assert [each.margin for each in found] == pytest.approx([a - b for a, b in zip(*plain, strict=True)], abs=1e-5)
    cut = [pairs[0].rejected.prefix(end) for end in pairs[0].rejected.turn_ends]
    assert found[0].rejected == pytest.approx(model.score(cut), abs=1e-5)
    (from_file,) = reward_sources([str(tmp_path / "scores.jsonl")])
    from_file.load()
    for ours, theirs in zip(found, from_file.score(records), strict=True):
        assert theirs.chosen == pytest.approx(ours.chosen, abs=1e-5)
        assert theirs.margin == pytest.approx(ours.margin, abs=1e-5)


def test_a_folder_of_scores_is_read_too(rows, reward_checkpoint, tmp_path):
    import typer
    from typer.testing import CliRunner

    from music.reward.cli import score

    app = typer.Typer()
    app.command()(score)
    arguments = [str(reward_checkpoint()), str(rows), "--per-turn", "--out", str(tmp_path / "scores")]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    (source,) = reward_sources([str(tmp_path / "scores")])
    assert isinstance(source, FileRewards)
    source.load()
    assert [len(each.chosen) for each in source.score(pairs_in(rows))] == [3, 1, 2, 3, 1, 2]


def test_a_server_gives_rewards_per_turn(rows, reward_server):
    source = ModelRewards(f"rm@{reward_server}")
    first, again = source.load(), ModelRewards(f"rm@{reward_server}").load()
    assert first != again  # it tells no fingerprint, so nothing of an earlier start is used
    assert source.score(pairs_in(rows)) == loaded_rewards("length").score(pairs_in(rows))


def test_a_pair_without_rewards_costs_the_others_none(rows, reward_checkpoint):
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {}}}]}
    tool = [*said("Hi"), call, {"role": "tool", "content": "42", "name": "look"}, *said("", "It is 42.")[1:]]
    odd = record_of(tool, said("a", "b"))
    good = pairs_in(rows)[0]
    first, found = loaded_rewards(reward_checkpoint()).score([odd, good])
    assert (first.margin, bool(first.problem)) == (None, True)
    assert len(found.chosen) == 3


def score_row(id, chosen, rejected):
    sides = {"chosen": chosen, "rejected": rejected}
    return {"id": id} | {name: {"score": turns[-1], "problem": None, "turns": turns} for name, turns in sides.items()}


def test_scores_of_other_pairs_are_not_taken(tmp_path):
    write_lines(
        tmp_path / "scores.jsonl",
        score_row("p0", [1.0], [2.0]),
        score_row("p1", [1.0], [2.0]),  # as if of another pair: p1 has two turns
        score_row("p3", [1.0], [2.0]),
        score_row("p3#2", [3.0], [2.0]),
    )
    source = FileRewards(str(tmp_path / "scores.jsonl"))
    source.load()
    write_lines(tmp_path / "rows.jsonl", *map(pair_of, (0, 1, 3, 6)))
    found = source.score(pairs_in(tmp_path / "rows.jsonl"))
    assert found[0] == PairRewards((1.0,), (2.0,), -1.0)
    assert [each.problem for each in found[1:]] == [
        "not in the file: no row has its id and as many turns",
        "not in the file: several rows have its id",
        "not in the file: no row has its id and as many turns",
    ]


@pytest.mark.parametrize("row", [{"index": 0, "score": 1.0}, {"id": "a", "chosen": {"score": 1.0}, "rejected": {}}])
def test_files_without_rewards_per_turn_of_pairs_are_refused(tmp_path, row):
    write_lines(tmp_path / "scores.jsonl", row)
    with pytest.raises(InvalidInputError, match=r"or scores of pairs by .*--per-turn.*, got rows with"):
        reward_sources([str(tmp_path / "scores.jsonl")])


def test_one_model_under_two_names_has_margins_under_both(rows, indexed):
    index = indexed(rows)
    with scored(index, named("m", lambda _: 1.0), named("copy", lambda _: 1.0)):
        for name in ("m", "copy"):
            assert len(index.values(margin_name(name), keys_of(index).values())) == 6


def test_a_wrong_or_repeated_model_is_refused_before_anything_is_served(tmp_path):
    with pytest.raises(InvalidInputError, match="nowhere/rm"):
        reward_sources(["./nowhere/rm"])
    with pytest.raises(InvalidInputError, match="different models, got length twice"):
        reward_sources(["length", "length"])


def test_lists_are_sorted_and_filtered_by_margins(rows, indexed):
    index = indexed(rows)
    good = named("good", lambda id: {"fruit": 3.0}.get(id, 1.0))
    bad = named("bad", lambda id: {"fruit": -4.0, "p1": 0.0}.get(id, 2.0))
    with scored(index, good, bad):
        assert next(iter(keys_of(index, sort=margin_name("good")))) == "fruit"
        assert next(iter(keys_of(index, sort=f"-{margin_name('bad')}"))) == "fruit"
        assert keys_of(index, extra=f"{preference_name('bad')}=rejected").keys() == {"fruit"}
        assert keys_of(index, extra=f"{preference_name('bad')}=tie").keys() == {"p1"}
        wait(lambda: index.values(DISAGREEMENT, [keys_of(index)["p1"]]))
        assert list(keys_of(index, sort=DISAGREEMENT))[:2] == ["fruit", "p1"]


def test_disagreement_is_in_units_of_each_models_spread(rows, indexed):
    index = indexed(rows)
    margins = {"small": {"a": 0.1, "b": -0.1}, "large": {"a": 50.0, "b": 50.0, "c": 50.0}}
    with closing(ScoreStore(index.path)) as store:
        for model, values in margins.items():
            store.add(model, model, {key: PairRewards((), (), value) for key, value in values.items()})
        store.compare(list(margins))
    assert index.values(DISAGREEMENT, "abc") == pytest.approx({"a": 0.0, "b": 2.0})


def test_rewards_are_kept_for_a_model_and_not_for_one_that_changed(rows, indexed):
    index = indexed(rows)
    first, same, changed = (
        named("m", lambda _: 1.0, "a"),
        named("m", lambda _: 2.0, "a"),
        named("m", lambda _: 3.0, "b"),
    )
    for source in (first, same, changed):
        with scored(index, source) as scorers:
            fingerprint = scorers.all[0].fingerprint
            assert scorers.all[0].num_scored == 6
    assert (len(first.seen), len(same.seen), len(changed.seen)) == (6, 0, 6)
    key = keys_of(index)["p1"]
    assert index.rewards("a m", key).margin == 1.0
    assert fingerprint == "b m"
    assert index.values(margin_name("m"), [key]) == {key: 3.0}
    with scored(index, same):
        assert index.values(margin_name("m"), [key]) == {key: 1.0}
    assert same.seen == []


def test_the_open_pair_is_scored_first_and_no_page_waits(rows, indexed):
    write_lines(rows, *map(pair_of, range(5, 40)))
    index, entered, may_score = indexed(rows), threading.Semaphore(0), threading.Semaphore(0)
    source = named("slow", lambda _: 1.0)
    score = source.score

    def slowly(pairs):
        entered.release()
        assert may_score.acquire(timeout=30)
        return score(pairs)

    source.score = slowly
    scorers = Scorers([source], index.path)
    with scorers.running(), serving(index, scorers=scorers) as url:
        assert entered.acquire(timeout=30)  # it scores the first pair, and is stuck
        key = keys_of(index, sort="newest")["p39"]
        assert "is scored …" in ask(url, f"/record/{key}")[2]
        assert "0 pairs scored so far" in ask(url)[2]
        ask(url, f"/record/{key}")
        may_score.release(1000)
        wait(lambda: index.rewards(scorers.all[0].fingerprint, key))
        assert source.seen.index("p39") <= 2
        page = ask(url, f"/record/{key}")[2]
    assert "prefers chosen, margin <b>+1</b>" in page


def test_a_server_that_is_away_is_shown_and_tried_again(rows, indexed, monkeypatch):
    monkeypatch.setattr("music.viewer.scoring._RETRY_SECONDS", 0.01)
    index, is_away = indexed(rows), threading.Event()
    source = named("away", lambda _: 1.0)
    score = source.score
    is_away.set()

    def sometimes(pairs):
        if is_away.is_set():
            raise MusicError("http://x: no answer")
        return score(pairs)

    source.score = sometimes
    scorers = Scorers([source], index.path)
    with scorers.running(), serving(index, scorers=scorers) as url:
        wait(lambda: scorers.all[0].problem)
        assert "away</bdi>: http://x: no answer" in ask(url)[2]
        is_away.clear()
        wait(lambda: scorers.all[0].is_done)
        assert sorted(source.seen) == sorted(keys_of(index))
        assert "no answer" not in ask(url)[2]


def test_new_pairs_of_a_growing_file_are_scored(rows, indexed):
    from music.viewer.indexing import IndexWriter

    index = indexed(rows)
    source = named("m", lambda _: 1.0)
    with scored(index, source):
        write_lines(rows, pair_of(77))
        with closing(IndexWriter(index.path, [str(rows)])) as writer:
            writer.update()
        wait(lambda: "p77" in source.seen)


def record_of(chosen, rejected):
    both = (("chosen", chosen), ("rejected", rejected))
    sides = tuple(Side(name, tuple(map(Message.model_validate, messages))) for name, messages in both)
    return Record(id="it", kind=Kind.PAIR, data_set="set", place="rows.jsonl line 1", sides=sides)


def test_a_chart_places_rewards_by_turn_and_size():
    record = record_of(said("a", "b", "c", "d", "e", "f"), said("a", "b", "c", "x"))
    chart = chart_of(PairRewards((1.0, 3.0, 2.0), (1.0, -1.0), 3.0), record, 2)
    chosen, rejected = chart.lines
    assert [point.turn for point in chosen.points] == [1, 2, 3]
    assert [point.turn for point in rejected.points] == [1, 2]
    assert chosen.points[0] == rejected.points[0]
    assert chosen.points[1].y < chosen.points[2].y < chosen.points[0].y < rejected.points[1].y
    assert chart.diverging == chosen.points[1].x
    assert {text for _, text in chart.ticks} == {"-1", "0", "3"}
    inside = [
        chart.left <= p.x <= chart.right and chart.top <= p.y <= chart.bottom
        for line in chart.lines
        for p in line.points
    ]
    assert all(inside)
    assert [rejected.text_of(turn) for turn in (2, 3)] == ["-1", "–"]


def test_a_chart_of_one_turn_with_equal_rewards_keeps_its_names_apart():
    chart = chart_of(PairRewards((2.0,), (2.0,), 0.0), record_of(said("a", "b"), said("a", "c")), 1)
    chosen, rejected = chart.lines
    assert abs(chosen.label_y - rejected.label_y) >= 14
    assert chart_of(PairRewards(problem="over_long"), record_of(said("a", "b"), said("a", "c")), 1) is None


def test_tool_messages_do_not_shift_turns():
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {}}}]}
    chosen = [*said("a"), call, {"role": "tool", "content": "42", "name": "look"}, *said("", "b", "c", "d")[1:]]
    record = record_of(chosen, said("a", "x"))
    assert Conversation(messages=record.sides[0].messages).num_turns == 2
    chart = chart_of(PairRewards((1.0, 2.0), (0.0,), 2.0), record, 1)
    assert [point.turn for point in chart.lines[0].points] == [1, 2]


def test_the_agreement_with_a_model_scores_the_labelled_pairs_alone(rows, indexed, tmp_path, capsys):
    index = indexed(rows)
    keys, store = keys_of(index), LabelStore(tmp_path / "labels.sqlite")
    for id, verdict in [("fruit", Verdict.DISAGREE), ("p2", Verdict.AGREE), ("p4", Verdict.DISAGREE)]:
        store.save(Label(key=keys[id], verdict=verdict))
    report_labels([str(rows)], ViewerConfig(agreement=True, models=("length",), labels=store.path))
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["labels", "number", "ties", "data", "length"]
    assert "0.333 [0.061, 0.792] of 3" in row
    assert "0.667 [0.208, 0.939] of 3" in row


def test_the_command_shows_rewards_and_ends(rows):
    with viewing(rows, "--model", "length") as (process, url):
        wait(lambda: 'class="margin against"' in ask(url)[2])
        link = ask(url)[2].partition('class="record" href="')[2].partition('"')[0]
        assert '<svg class="chart"' in ask(url, link)[2]
        process.terminate()
        assert process.wait(timeout=30) is not None
        assert "Traceback" not in process.stderr.read()


def test_the_index_of_another_viewer_reads_rewards(rows, indexed):
    index = indexed(rows)
    with scored(index, named("m", lambda _: 1.0)):
        pass
    other = Index(index.path)
    keys = keys_of(other).values()
    assert [other.rewards("one m", key).margin for key in keys] == [1.0] * 6
