"""`music score`: a reward model's scores for a file of conversations or of preference pairs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from music.cli import AsJson, ConsecutiveFlag, FormatFlag, SplitFlag, StrictFlag, console, emit, read_pairs
from music.files import require_output_file
from music.names import require_model
from music.reward.tokens.contract import ReadAt

__all__ = ["score"]


def score(
    model: Annotated[str, typer.Argument(help="Folder or hub id of a reward model.")],
    file: Annotated[
        str, typer.Argument(help="Preference pairs, or conversations (rows of messages or conversations).")
    ],
    per_turn: Annotated[bool, typer.Option("--per-turn", help="Score after every assistant turn.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write one JSON line per row here.")] = None,
    device: Annotated[str | None, typer.Option(help="CUDA where there is one, else the CPU, if not given.")] = None,
    attention: Annotated[str | None, typer.Option(help="gather, flex or varlen; by default the fastest here.")] = None,
    chat_template: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME", help="Chat template of a model that has none; chatml or zephyr, for example."
        ),
    ] = None,
    read_at: Annotated[
        ReadAt | None,
        typer.Option(
            help="Token at which a model without a score contract has its reward, if the checkpoint does not say."
        ),
    ] = None,
    format: FormatFlag = None,
    split: SplitFlag = None,
    consecutive: ConsecutiveFlag = "refuse",
    strict: StrictFlag = False,
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

    reward_model = RewardModel.from_pretrained(
        model, device=device, attention=attention, chat_template=chat_template, read_at=read_at
    )
    _say(reward_model.description)
    if is_conversation_file(file, split=split):
        conversations = read_conversations(file, split=split, consecutive=Consecutive(consecutive))
        report = report_conversations(reward_model, conversations, per_turn=per_turn)
    else:
        pairs = read_pairs(file, format, strict, split=split, consecutive=consecutive).pairs
        report = report_pairs(reward_model, pairs, per_turn=per_turn)
    contract = reward_model.contract
    summary: dict[str, Any] = {"model": reward_model.description, "read_at": contract.read_at, **report.summary}
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in report.rows))
        summary["out"] = out
    emit(summary if out is not None else summary | {"rows": report.rows}, as_json, report.text)


def _say(line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
