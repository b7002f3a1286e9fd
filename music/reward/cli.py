"""`music score`: scores a file of conversations or preference pairs with a reward model."""

from pathlib import Path
from typing import Annotated, Any

import typer

from music.cli import AsJson, Reading, console, emit, with_flags
from music.config import Config, Flag
from music.files import require_output_file
from music.names import require_model
from music.reward.tokens.contract import ReadAt

__all__ = ["score"]


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


@with_flags
def score(
    model: Annotated[str, typer.Argument(help="Folder or hub id of a reward model.")],
    file: Annotated[
        str, typer.Argument(help="Preference pairs, or conversations (rows of messages or conversations).")
    ],
    loading: _Loading,
    reading: Reading,
    per_turn: Annotated[bool, typer.Option("--per-turn", help="Score after every assistant turn.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write one JSON line per row here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score conversations, or measure how well a model ranks preference pairs.

    Example: music score runs/rm held_out.jsonl --per-turn --out scores.jsonl
    """
    require_model(model)
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
