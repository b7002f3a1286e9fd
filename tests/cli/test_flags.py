import json
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer
from pydantic import Field, model_validator
from typer.testing import CliRunner

from music.cli import with_flags
from music.config import Config, Flag


class Loss(Config):
    margin: float = Field(default=0.0, ge=0)
    """By how much the chosen side should win."""


class Training(Config):
    base: str
    """Folder of a model."""
    rate: float = 1.0
    """Peak rate."""
    num_steps: Annotated[int | None, Flag(panel="Steps", name="--steps")] = None
    """Optimizer steps."""
    kind: Literal["plain", "fancy"] = "plain"
    """What it is."""
    prices: tuple[str, ...] = ()
    """May be repeated."""
    out: Path | None = None
    """Where to."""
    loss: Annotated[Loss, Flag(panel="Loss")] = Loss()
    secret: Annotated[int, Flag(is_hidden=True)] = 7

    @model_validator(mode="before")
    @classmethod
    def _default_rate(cls, data):
        return data if "rate" in data else data | {"rate": 2.0 if data.get("kind") == "fancy" else 1.0}


class Judge(Config):
    num_samples: int = 1
    """Judgements of each question."""


@with_flags
def train(pairs: list[str], config: Training, judge: Annotated[Judge, "judge"], quick: bool = False) -> None:
    """Train."""
    print(json.dumps([pairs, config.model_dump(mode="json"), judge.num_samples, quick]))


@pytest.fixture
def call():
    app = typer.Typer()
    app.command()(train)

    def run(*args, **settings):
        result = CliRunner().invoke(app, list(args), catch_exceptions=False, **settings)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def filled(output):
    return json.loads(output.splitlines()[-1])


def test_fields_are_flags_and_what_is_not_given_is_the_models_own(call):
    pairs, config, samples, quick = filled(call("a", "b", "--base", "m", "--kind", "fancy"))
    assert (pairs, samples, quick) == (["a", "b"], 1, False)
    assert config == Training(base="m", kind="fancy").model_dump(mode="json")
    assert config["rate"] == 2.0


def test_names_types_nested_models_and_prefixes(call):
    flags = ["--steps", "3", "--prices", "x=1", "--prices", "y=2", "--margin", "0.5", "--judge-num-samples", "4"]
    _, config, samples, quick = filled(call("a", "--base", "m", "--rate", "0.1", "--out", "runs/x", "--quick", *flags))
    assert (config["num_steps"], config["prices"], config["loss"]["margin"]) == (3, ["x=1", "y=2"], 0.5)
    assert (config["rate"], config["out"], samples, quick) == (0.1, "runs/x", 4, True)


def test_values_of_a_config_file_count_as_given(call):
    config = filled(call("a", default_map={"base": "m", "rate": "1.0", "kind": "fancy"}))[1]
    assert (config["base"], config["rate"]) == ("m", 1.0)


def test_help_shows_docstrings_and_leaves_hidden_fields_out(call):
    text = call("--help")
    assert "By how much the chosen side should win." in text
    assert "--judge-num-samples" in text
    assert "--secret" not in text


def test_two_flags_of_one_name_are_refused():
    def twice(config: Training, again: Training) -> None: ...

    with pytest.raises(TypeError, match="twice: two flags share a name: base, kind"):
        with_flags(twice)
