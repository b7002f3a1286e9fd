import json

import pytest

import music.evaluation
from music.errors import InvalidInputError
from music.evaluation import DiagnosisConfig, EvaluationConfig, EvaluationResult, run_diagnosis, run_evaluation
from music.evaluation.config import BenchmarkReading


@pytest.fixture
def file(tmp_path):
    """Six pairs, in four of which the chosen side is the longer one."""
    sides = [("A pear, or an apple.", "A pear."), ("Yes.", "No, no, no."), ("A good plan.", "No.")] * 2
    rows = [
        {"prompt": f"Question {n}?", "chosen": chosen, "rejected": rejected}
        for n, (chosen, rejected) in enumerate(sides)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_an_evaluation_from_python_writes_what_the_command_writes(file, tmp_path):
    notes = []
    config = EvaluationConfig(benchmark="preferences", files=(file,), model="length", out=tmp_path / "out")
    result = run_evaluation(config, note=notes.append)
    assert result.figures[0].estimate.value == pytest.approx(4 / 6)
    saved = EvaluationResult.model_validate_json((config.out / "result.json").read_bytes())
    assert saved.model_dump() == result.model_dump()
    names = {"result.json", "report.html", "report-worst.html", "report", "scores.jsonl"}
    assert {path.name for path in config.out.iterdir()} == names
    assert [note.partition(" ")[0] for note in notes] == ["6", "length", "scores,"]


def test_a_draw_is_marked_in_the_result(file):
    reading = BenchmarkReading(limit=3)
    result = run_evaluation(EvaluationConfig(benchmark="preferences", files=(file,), model="length", reading=reading))
    assert (result.num_items, result.num_items_of_all) == (3, 6)


def test_a_format_is_for_pairs_alone(file):
    config = EvaluationConfig(
        benchmark="rewardbench", files=(file,), model="length", reading=BenchmarkReading(consecutive="merge")
    )
    with pytest.raises(InvalidInputError, match="rewardbench has its own format"):
        run_evaluation(config)


def test_a_diagnosis_from_python_writes_what_the_command_writes(file, tmp_path):
    shown = []
    config = DiagnosisConfig(pairs=(file,), models=("length",), train=(file,), out=tmp_path / "out")
    found = run_diagnosis(config, note=shown.append)
    assert found.models[0].figures[0].estimate.value == pytest.approx(4 / 6)
    assert found.leakage.num_same_pair == 6
    assert json.loads((config.out / "diagnosis.json").read_bytes())["files"] == [file]
    assert shown[-1] == f"scores, diagnosis and report: {config.out}"


def test_the_face_gives_functions_and_no_modules():
    assert callable(music.evaluation.evaluate)
    assert all(callable(getattr(music.evaluation, name)) for name in music.evaluation.__all__)
