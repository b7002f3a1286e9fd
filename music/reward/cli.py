"""`music score`: scores conversations or preference pairs with a reward model, to a file or to a folder of parts."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field

from music.cli import AsJson, Reading, console, counted, emit, with_flags
from music.config import Config, Flag
from music.errors import InvalidInputError
from music.files import require_output_file
from music.names import find_model
from music.reward.tokens.contract import ReadAt

__all__ = ["score"]

_SETS = "Data sets of any size, into a folder"


class _Loading(Config):
    """How to load a reward model; see `RewardModel.from_pretrained`."""

    device: str | None = None
    """Where to compute. By default CUDA if it is available, else the CPU."""
    attention: str | None = None
    """gather, flex or varlen; by default the fastest that works on the device."""
    chat_template: Annotated[str | None, Flag(metavar="FILE|NAME")] = None
    """Chat template of a model that has none; chatml or zephyr, for example."""
    read_at: ReadAt | None = None
    """Token at which the reward is read, for a model without a score contract. By default the checkpoint decides."""


class _Parts(Config):
    """How a set is divided into parts, and who scores them."""

    part_rows: Annotated[int, Flag(panel=_SETS)] = Field(default=10_000, ge=1)
    """Most rows of a part, which is one file in the folder."""
    ray: Annotated[bool, Flag(name="--ray", panel=_SETS)] = False
    """Score the parts on a Ray cluster: that of RAY_ADDRESS or of this machine, or else a new one on this machine."""
    workers: Annotated[int | None, Flag(panel=_SETS)] = Field(default=None, ge=1)
    """Workers in the cluster, by default one for each GPU, or for each CPU if there is none. Each loads the model."""


@with_flags
def score(
    model: Annotated[str, typer.Argument(help="Folder or hub id of a reward model.")],
    file: Annotated[
        str, typer.Argument(help="Preference pairs, or conversations (rows of messages or conversations).")
    ],
    loading: _Loading,
    reading: Reading,
    parts: _Parts,
    per_turn: Annotated[bool, typer.Option("--per-turn", help="Score after every assistant turn.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE|FOLDER", help="Write a JSON line per row to FILE.jsonl, or parquet to a folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score conversations, or measure how well a model ranks preference pairs.

    With a folder as --out, the size of a set does not matter, and the same command resumes a run that was stopped.

    Example: music score runs/rm held_out.jsonl --per-turn --out scores.jsonl
    """
    from music.preferences.files import kind_of

    find_model(model)
    if out is not None and (out.is_dir() or not kind_of(out)):
        return _score_set(model, file, loading, reading, parts, per_turn, out, as_json)
    if parts.ray or parts.workers:
        raise InvalidInputError("--ray and --workers: expected --out FOLDER, which takes the files of all workers")
    return _score_file(model, file, loading, reading, per_turn, out, as_json)


def _score_file(
    model: str, file: str, loading: _Loading, reading: Reading, per_turn: bool, out: Path | None, as_json: bool
) -> None:
    if out is not None:
        require_output_file(out)
    import orjson

    from music.preferences import Consecutive, is_conversation_file, read_conversations
    from music.reward.model import RewardModel
    from music.reward.report import report_conversations, report_pairs

    reward_model = RewardModel.from_pretrained(model, **dict(loading))
    console.print(reward_model.description, highlight=False, markup=False, soft_wrap=True)
    if is_conversation_file(file, split=reading.split):
        conversations = read_conversations(file, split=reading.split, consecutive=Consecutive(reading.consecutive))
        report = report_conversations(reward_model, conversations, per_turn=per_turn)
    else:
        report = report_pairs(reward_model, reading.read(file).pairs, per_turn=per_turn)
    contract = reward_model.contract
    summary: dict[str, Any] = {"model": reward_model.description, "read_at": contract.read_at, **report.summary}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in report.rows))
        summary["out"] = out
    emit(summary if out is not None else summary | {"rows": report.rows}, as_json, report.text)


def _score_set(
    model: str,
    source: str,
    loading: _Loading,
    reading: Reading,
    parts: _Parts,
    per_turn: bool,
    out: Path,
    as_json: bool,
) -> None:
    from contextlib import nullcontext

    from music.preferences import Consecutive, parse_format
    from music.reward.scored_set import LocalWorkers, SetSettings, score_set
    from music.reward.scored_set.cluster import ray_workers

    if parts.workers and not parts.ray:
        raise InvalidInputError("--workers: expected --ray, which starts them; add it, or leave --workers out")
    settings = SetSettings(
        per_turn=per_turn,
        part_rows=parts.part_rows,
        format=parse_format(reading.format),
        consecutive=Consecutive(reading.consecutive),
        strict=reading.strict,
    )
    report = score_set(
        source,
        out,
        (lambda: ray_workers(model, dict(loading), num_workers=parts.workers))
        if parts.ray
        else (lambda: nullcontext(LocalWorkers(model, dict(loading)))),
        settings,
        split=reading.split,
        progress=counted,
        note=lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True),
    )
    summary = {"model": report.model, "read_at": report.read_at, **report.summary, "out": out}
    emit(summary, as_json, report.text)
