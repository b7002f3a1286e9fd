"""Distillation of Best-of-N: its choices as training sets, so that one reply becomes as good as the best of N.

`write_distillation` writes two files of JSON lines that TRL reads (`datasets.load_dataset("json", data_files=...)`):

- `sft.jsonl`: the conversations that were kept, as `messages`, for `SFTTrainer`.
- `dpo.jsonl`: for every choice its best and its worst candidate, as `prompt`, `chosen` and `rejected`, for `DPOTrainer`
  and for `music train`; with their scores.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from music.errors import InvalidInputError
from music_envs.best_of_n.rollout import Decision, Rollout

__all__ = ["Distillation", "write_distillation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distillation:
    """What `write_distillation` wrote.

    Attributes:
        sft: File of the kept conversations.
        dpo: File of the pairs.
        num_conversations: Rows of `sft`.
        num_failed: Conversations that are left out because an error ended them.
        num_pairs: Rows of `dpo`.
        num_close: Choices that gave no pair, because the margin between best and worst is too small.
    """

    sft: Path
    dpo: Path
    num_conversations: int
    num_failed: int
    num_pairs: int
    num_close: int

    def __str__(self) -> str:
        """Return the numbers in one line."""
        left_out = f"left out: {self.num_failed} failed conversations, {self.num_close} choices with a small margin"
        return f"{self.num_conversations} conversations and {self.num_pairs} pairs ({left_out})"


def write_distillation(directory: Path, rollouts: Sequence[Rollout], *, min_margin: float = 0.0) -> Distillation:
    """Write the choices of Best-of-N as a set for SFT and a set for DPO.

    With `Greedy` and `Anytime` a pair is two replies to one history. With `Whole` and `Beam` its sides also contain the
    users' later messages, which a trainer should mask.

    Args:
        directory: Folder of the two files; it is created if it does not exist.
        rollouts: As `run_best_of_n` returns them.
        min_margin: Least difference between the scores of a pair, in units of the reward; equal scores give none.

    Raises:
        InvalidInputError: The margin is negative, or all conversations failed.
    """
    if not min_margin >= 0:
        raise InvalidInputError(f"expected a min_margin of at least 0, got {min_margin}")
    sound = [rollout for rollout in rollouts if not rollout.is_failed]
    if not sound:
        raise InvalidInputError(f"expected a conversation that did not fail, got {len(rollouts)} that failed")
    decisions = [decision for rollout in sound for decision in rollout.decisions]
    pairs = [pair for decision in decisions if (pair := _pair(decision, min_margin))]
    directory.mkdir(parents=True, exist_ok=True)
    sft, dpo = directory / "sft.jsonl", directory / "dpo.jsonl"
    _write(sft, ({"messages": rollout.conversation.to_messages()} for rollout in sound))
    _write(dpo, pairs)
    return Distillation(
        sft=sft,
        dpo=dpo,
        num_conversations=len(sound),
        num_failed=len(rollouts) - len(sound),
        num_pairs=len(pairs),
        num_close=len(decisions) - len(pairs),
    )


def _pair(decision: Decision, min_margin: float) -> dict[str, Any] | None:
    """Return the best and the worst candidate after the messages that they share; None if they are too close."""
    order = sorted(range(len(decision.scores)), key=lambda i: decision.scores[i])
    worst, best = order[0], order[-1]
    chosen, rejected = (decision.candidates[i].to_messages() for i in (best, worst))
    margin = decision.scores[best] - decision.scores[worst]
    if chosen == rejected or margin <= 0 or margin < min_margin:
        return None
    num_shared = next(i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b)
    return {
        "prompt": chosen[:num_shared],
        "chosen": chosen[num_shared:],
        "rejected": rejected[num_shared:],
        "score_chosen": decision.scores[best],
        "score_rejected": decision.scores[worst],
    }


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
