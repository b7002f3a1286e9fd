import dataclasses
import json
import pickle
import subprocess
import sys

import pytest

from music.errors import InvalidInputError
from music.evaluation.scoring import read_scores, score_items

KILLED_RUN = """
import pickle, sys
from pathlib import Path
from music.evaluation.scoring import ScoredModel, score_items

calls = []

def reward(conversations):
    calls.append(len(conversations))
    if len(calls) == 3:
        print("in the third chunk", flush=True)
        sys.stdin.read()  # until it is killed
    return [float(len(c.messages[-1].content)) for c in conversations]

items = pickle.loads(Path(sys.argv[1]).read_bytes())
score_items(items, ScoredModel(name="m", reward=reward, fingerprint="f1"), Path(sys.argv[2]))
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scores.jsonl"


@pytest.fixture
def items(make_items):
    return make_items(4)


@pytest.fixture
def kept(items, path, make_scored_model):
    """Scores in a file, and what they were."""
    return score_items(items, make_scored_model(), path)


def change(path, number, line):
    lines = path.read_text().splitlines(keepends=True)
    lines[number - 1 : number] = [line]
    path.write_text("".join(lines))


def test_a_killed_run_goes_on_where_it_was(make_items, make_scored_model, path, tmp_path):
    items = make_items(5, num_characters=70_000)  # a chunk each
    (tmp_path / "items").write_bytes(pickle.dumps(items))
    arguments = [sys.executable, "-c", KILLED_RUN, str(tmp_path / "items"), str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"in the third chunk\n"
        process.kill()
    assert process.returncode == -9
    assert len(path.read_text().splitlines()) == 3  # the header, and two chunks
    with path.open("ab") as file:
        file.write(b'{"id":"fruit/2","sco')  # as a kill in mid-write leaves it
    asked = []

    def reward(conversations):
        asked.extend(conversations)
        return [float(len(c.messages[-1].content)) for c in conversations]

    resumed = score_items(items, make_scored_model(reward), path)
    assert len(asked) == 9
    assert resumed.rows == score_items(items, make_scored_model(reward)).rows
    assert read_scores(path, items).rows == resumed.rows


def test_what_is_read_again_is_what_was_scored(items, kept, path):
    found = read_scores(path, items)
    assert found.rows == kept.rows
    assert found.header == kept.header
    assert found.of(items.items) == {id: list(row.scores) for id, row in kept.rows.items()}


def test_a_finished_file_is_not_scored_again(items, kept, path, make_scored_model):
    moved = make_scored_model(name="elsewhere/model-1")
    assert score_items(items, moved, path).rows == kept.rows
    assert moved.reward.asked == []


def test_rewards_without_a_fingerprint_are_scored_anew(items, path, make_scored_model):
    for _ in range(2):
        scored_model = make_scored_model(fingerprint=None)
        score_items(items, scored_model, path)
        assert len(scored_model.reward.asked) == 12
    assert len(path.read_text().splitlines()) == 5


@pytest.mark.parametrize("changes", [{"fingerprint": "f2"}, {"fingerprint": None}])
def test_another_model_does_not_add_to_a_file(items, kept, path, make_scored_model, changes):
    before = path.read_bytes()
    with pytest.raises(InvalidInputError, match=r"scores of another model: model-1 \(f1\), not model-2"):
        score_items(items, make_scored_model(name="model-2", **changes), path)
    assert path.read_bytes() == before


def test_other_items_are_refused(items, kept, path, make_items, make_scored_model):
    longer = dataclasses.replace(items, items=items.items[:3])
    for other in (longer, make_items(4, num_characters=100)):
        with pytest.raises(InvalidInputError, match="got scores of 4 others"):
            read_scores(path, other)
        with pytest.raises(InvalidInputError, match="got scores of 4 others"):
            score_items(other, make_scored_model(), path)
    with pytest.raises(InvalidInputError, match="expected scores of nuts, got scores of fruit"):
        read_scores(path, make_items(4, benchmark="nuts"))


def test_scores_of_a_run_that_was_cut_short_are_no_benchmark(items, kept, path):
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(
        InvalidInputError, match=r"expected scores of 4 items, got 3; for example, 'fruit/\d' is missing.*interrupted"
    ):
        read_scores(path, items)


def test_files_that_were_joined_are_refused(items, kept, path):
    path.write_text(path.read_text() * 2)
    with pytest.raises(InvalidInputError, match=r"line 6: .*the header of another file"):
        read_scores(path, items)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id":"fruit/3","scores":[1,2,3]}', "line 3: expected each item once, got 'fruit/3' again"),
        ('{"id":"fruit/1","scores":[1,NaN,3]}', "line 3: .*scores.1.*finite"),
        ('{"id":"fruit/1","scores":[1,null,3]}', "line 3: .*expected a problem where a score is missing"),
        ('{"id":"fruit/1","scores":[1,2]}', "expected 3 scores of 'fruit/1', got 2"),
        ('{"id":"fruit/9","scores":[1,2]}', "expected no scores of 'fruit/9', got 2"),
        ('{"id":"fruit/1","score":1}', "line 3: .*scores: Field required"),
        ("not json", "line 3: expected the scores of an item: line: Invalid JSON"),
    ],
)
def test_bad_lines_are_named(items, kept, path, line, message):
    ids = [json.loads(text)["id"] for text in path.read_text().splitlines()[1:]]
    change(path, 3, line.replace("fruit/1", ids[1]).replace("fruit/3", ids[0]) + "\n")
    with pytest.raises(InvalidInputError, match=message.replace("fruit/1", ids[1]).replace("fruit/3", ids[0])):
        read_scores(path, items)


def test_what_is_no_file_of_scores_is_said(items, path, make_scored_model):
    path.write_text('{"id":"fruit/1","scores":[1,2,3]}\n')
    for use in (lambda: read_scores(path, items), lambda: score_items(items, make_scored_model(), path)):
        with pytest.raises(InvalidInputError, match="line 1: expected the header of a file of scores: benchmark: "):
            use()
    with pytest.raises(InvalidInputError, match="expected a file of scores; there is no such file"):
        read_scores(path.with_name("none.jsonl"), items)
