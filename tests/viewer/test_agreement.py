"""The agreement of labels, and the pairs that are relabelled by them."""

import pyarrow.parquet as pq
import pytest
import typer
from statsmodels.stats.proportion import proportion_confint
from typer.testing import CliRunner

from music.errors import InvalidInputError
from music.preferences import read_preferences
from music.preferences.files import file_rows
from music.viewer.agreement import agreement_of
from music.viewer.commands import report_labels
from music.viewer.config import ViewerConfig
from music.viewer.export import export_labelled
from music.viewer.index import Index
from music.viewer.labels import Label, LabelStore, Verdict
from music.viewer.query import Query
from music.viewer.records import key_of
from music.viewer.rows import read_records
from tests.viewer.conftest import FRUIT, pair_of, said, write_lines, write_table

AGREE, DISAGREE, TIE = Verdict.AGREE, Verdict.DISAGREE, Verdict.TIE
TOOL = {
    "id": "tool",
    "chosen": [
        *said("Weather?"),
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look", "arguments": {"x": 1}}}]},
        {"role": "tool", "content": "rain", "name": "look"},
        {"role": "assistant", "content": "It rains."},
    ],
    "rejected": said("Weather?", "No idea."),
}


def labels_of(*verdicts, **fields):
    return [Label(key=f"k{number}", verdict=verdict, **fields) for number, verdict in enumerate(verdicts)]


@pytest.fixture
def labelled(tmp_path, indexed):
    """Return an index of pairs p0 to p5, of which five are labelled, and the labels."""
    write_lines(tmp_path / "rows.jsonl", *map(pair_of, range(6)), FRUIT, TOOL)
    store = LabelStore(tmp_path / "labels.sqlite")
    index = Index(indexed(tmp_path / "rows.jsonl").path, store)
    keys = {each.id: each.key for each in index.listing(Query()).records}
    for id, verdict, note in [
        ("tool", AGREE, "uses its tool"),
        ("p0", AGREE, ""),
        ("p1", DISAGREE, "the other is shorter"),
        ("p2", TIE, ""),
        ("p3", Verdict.NONE, "no idea"),
    ]:
        store.save(Label(key=keys[id], verdict=verdict, note=note, labeller="Ann"))
    store.save(Label(key=keys["p1"], turn=2, verdict=TIE, note="here"))
    store.save(Label(key=keys["p4"], turn=1, verdict=AGREE))
    store.save(Label(key="of another set", verdict=AGREE))
    return index, store


def test_shares_and_intervals_by_number_of_turns():
    labels = labels_of(AGREE, AGREE, AGREE, DISAGREE, TIE, Verdict.NONE)
    turns = {f"k{number}": 2 if number < 2 else 5 for number in range(6)}
    found = agreement_of(labels, turns, {})
    rows = {row.name: (row.num_labels, row.num_ties, row.shares[0]) for row in found.rows}
    assert {name: row[:2] for name, row in rows.items()} == {"all pairs": (5, 1), "2 turns": (2, 0), "5 turns": (3, 1)}
    share = rows["all pairs"][2]
    assert share.value == 0.75
    assert (share.low, share.high) == pytest.approx(proportion_confint(3, 4, method="wilson"))
    assert rows["5 turns"][2].value == 0.5


def test_a_model_agrees_if_it_prefers_the_same_side():
    labels = labels_of(AGREE, AGREE, DISAGREE, DISAGREE, TIE)
    margins = {"good": {"k0": 1.0, "k1": 2.0, "k2": -1.0, "k3": -0.5, "k4": 9.0}, "part": {"k0": -1.0, "k2": 0.0}}
    found = agreement_of(labels, {label.key: 1 for label in labels}, margins)
    assert found.judges == ("data", "good", "part")
    data, good, part = found.rows[0].shares
    assert (data.value, good.value, part.value) == (0.5, 1.0, 0.0)  # equal rewards are a miss
    assert (data.num, part.num) == (4, 2)


def test_labels_of_another_set_and_of_turns_are_counted_apart():
    labels = [*labels_of(AGREE), Label(key="k0", turn=1, verdict=DISAGREE), Label(key="elsewhere", verdict=DISAGREE)]
    found = agreement_of(labels, {"k0": 3}, {"model": {"k0": 1.0}})
    assert [(row.name, row.num_labels, row.shares[0].value) for row in found.rows] == [
        ("all pairs", 1, 1.0),
        ("3 turns", 1, 1.0),
        ("single turns", 1, 0.0),
    ]
    assert found.num_elsewhere == 1
    assert "1 labelled pairs of the label file are not in this set" in found.text


def test_no_label_is_no_share():
    found = agreement_of([], {}, {})
    assert found.rows[0].shares == (None,)
    assert "all pairs  0       0     –" in found.text


def test_an_export_has_the_pairs_by_the_labels_of_people(labelled, tmp_path):
    exported = export_labelled(tmp_path / "out.parquet", *labelled)
    assert exported.text == ("3 pairs, 1 of them swapped; left out: 1 ties, 1 labelled pairs that are not in this set")
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "out.parquet").to_pylist()}
    assert list(rows) == ["p0", "p1", "tool"]
    assert rows["p1"]["note"] == "the other is shorter"
    assert (rows["p1"]["label"], rows["p1"]["labeller"]) == ("disagree", "Ann")
    assert rows["p1"]["turn_labels"] == [{"turn": 2, "label": "tie", "note": "here"}]
    pairs = {pair.id: pair for pair in read_preferences(tmp_path / "out.parquet").pairs}
    before = {pair.id: pair for pair in read_preferences(tmp_path / "rows.jsonl").pairs}
    assert pairs["p0"].chosen == before["p0"].chosen
    assert (pairs["p1"].chosen, pairs["p1"].rejected) == (before["p1"].rejected, before["p1"].chosen)
    assert (pairs["tool"].chosen, pairs["tool"].rejected) == (before["tool"].chosen, before["tool"].rejected)


def test_an_export_needs_labels_and_the_name_of_a_table(labelled, tmp_path):
    index, store = labelled
    with pytest.raises(InvalidInputError, match=r"expected a path ending in .parquet"):
        export_labelled(tmp_path / "out.csv", index, store)
    with pytest.raises(InvalidInputError, match=r"expected labelled pairs in .*none.sqlite, got 0 pairs"):
        export_labelled(tmp_path / "out.parquet", index, LabelStore(tmp_path / "none.sqlite"))
    assert not (tmp_path / "out.parquet").exists()


def test_the_command_prints_and_exports(labelled, tmp_path, capsys):
    config = ViewerConfig(agreement=True, export=tmp_path / "out.parquet", labels=labelled[1].path)
    report_labels([str(tmp_path / "rows.jsonl")], config)
    text = capsys.readouterr().out
    assert "all pairs     4       1     0.667 [0.208, 0.939] of 3" in text
    assert text.endswith("out.parquet: " + export_labelled(tmp_path / "again.parquet", *labelled).text + "\n")


def test_trainers_and_evaluations_read_an_export(tmp_path, language_checkpoint):
    from music.evaluation.cli import evaluate
    from music_trainers.cli import train

    path = tmp_path / "set" / "rows.parquet"
    write_table(path, *({**pair_of(number), "id": f"q{number}"} for number in range(12)))
    store_path, out = tmp_path / "more.sqlite", tmp_path / "out.parquet"
    store = LabelStore(store_path)
    for number, row in enumerate(file_rows(path)):
        (record,) = read_records(row, "set")
        store.save(Label(key=key_of(record), verdict=DISAGREE if number % 3 == 0 else AGREE))
    report_labels([str(path)], ViewerConfig(export=out, labels=store_path))

    def run(command, *arguments):
        app = typer.Typer()
        app.command()(command)
        result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    text = run(evaluate, "preferences", out, "--model", "length")
    assert "0.667" in text  # the longer side is the chosen one of the data
    base = language_checkpoint()
    run(train, out, "--base", base, "--out", tmp_path / "rm", "--max-steps", 1, "--eval-fraction", 0.2)
    assert (tmp_path / "rm" / "score_contract.json").exists()
