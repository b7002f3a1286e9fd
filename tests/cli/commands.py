"""Commands for the shell's tests, as a third party would write them."""

import json as json_
from pathlib import Path
from typing import Annotated, Literal, Self

import typer
from pydantic import BaseModel, ConfigDict, Field, model_validator

from music.cli import AsJson, Requests, emit, run_async, with_flags
from music.errors import InvalidInputError


class _Recipe(BaseModel):
    steps: int


class _Kitchen(BaseModel):
    num_turns: int = Field(ge=1)
    heat: float = Field(default=1.0, ge=0)
    oven: Literal["gas", "wood"] = "gas"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.heat > self.num_turns:
            raise ValueError("expected num_turns of at least the heat: raise num_turns")
        return self


class _Judge(BaseModel):
    model_config = ConfigDict(title="judge")
    heat: float = Field(ge=0)


class _Meal(BaseModel):
    kitchen: _Kitchen


def cook(
    num_turns: Annotated[int, typer.Option("--turns")] = 3,
    heat: float = 1.0,
    oven: str = "gas",
    judge_heat: Annotated[float, typer.Option("--judge-warmth")] = 1.0,
) -> None:
    """Fill two configs, one of them nested."""
    _Judge(heat=judge_heat)
    _Meal.model_validate({"kitchen": {"num_turns": num_turns, "heat": heat, "oven": oven}})


def count(
    files: list[Path],
    num_pairs: int = 10,
    rate: float = 0.5,
    tag: Annotated[list[str] | None, typer.Option()] = None,
    dry: bool = False,
    json: AsJson = False,
) -> None:
    """Count things in files.

    Example:
        music count a.jsonl --num-pairs 3
    """
    emit({"files": files, "num_pairs": num_pairs, "rate": rate, "tag": tag, "dry": dry}, json)


def fail(how: str) -> None:
    """Fail in a chosen way."""
    if how == "music":
        raise InvalidInputError("expected a [bold] number, got 'x'; give a number")
    if how == "pydantic":
        _Recipe.model_validate({"steps": "many"})
    if how == "emoji":
        raise InvalidInputError("judge:x:y")
    if how == "file":
        Path("/nowhere/pairs.jsonl").read_text()
    if how == "interrupt":
        raise KeyboardInterrupt
    raise RuntimeError("a bug")


@with_flags
def ask(requests: Requests) -> None:
    """Say how endpoints would be asked."""
    from music.llm.options import parse_options

    read = parse_options(requests.options, ("user", "assistant"))
    told = {role: json_.loads(found.describe_sampling() or "{}") for role, found in read.items()}
    retry = requests.client_settings().retry
    emit({"options": told, "headers": read["user"].connection.header_values(), "retry": retry}, as_json=True)


def wait() -> None:
    """Run a coroutine."""

    async def work() -> dict[str, str]:
        import asyncio

        return {"loop": type(asyncio.get_running_loop()).__module__}

    emit(run_async(work()), as_json=True)


app = typer.Typer(help="Sub-commands.")


@app.command()
def only(port: int = 0) -> None:
    """Be the only sub-command."""
    emit({"port": port}, as_json=True)
