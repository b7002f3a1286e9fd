"""Where rewards of pairs come from: `ModelRewards` asks a reward for them, `FileRewards` reads a file of scores."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.preferences.files import file_rows, kind_of
from music.reward.functions import RewardFunction, load_reward, require_reward
from music.reward.tokens.contract import ContractError, Scored, Unscorable, UnscorableError, read_rewards
from music.version import __version__
from music.viewer.records import Record
from music.viewer.rewards import PairRewards, RewardSource

__all__ = ["FileRewards", "ModelRewards", "reward_sources"]


def reward_sources(names: Sequence[str]) -> list[RewardSource]:
    """Return the rewards that a user named: files or folders of `music score --per-turn`, or any reward's name.

    Raises:
        InvalidInputError: There is no such reward, a name is given twice, or a file has no rewards per turn.
    """
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InvalidInputError(f"--model: expected different models, got {', '.join(sorted(repeated))} twice")
    return [FileRewards(name) if _is_of_scores(Path(name).expanduser()) else ModelRewards(name) for name in names]


def _is_of_scores(path: Path) -> bool:
    return (path.is_file() and bool(kind_of(path))) or any(path.glob("part-*.parquet"))


class ModelRewards:
    """The rewards of a model.

    Args:
        name: As for `load_reward`.

    Raises:
        InvalidInputError: There is no such reward.
    """

    batch_size = 1

    def __init__(self, name: str) -> None:
        require_reward(name)
        self.name = name
        self._reward: RewardFunction | None = None

    def load(self) -> str:
        """Load the model, and return its fingerprint; servers that tell none are asked anew by each process."""
        self._reward = load_reward(self.name)
        fingerprint = getattr(self._reward, "fingerprint", f"{self.name} {__version__}")
        return str(fingerprint or uuid4())

    def score(self, pairs: Sequence[Record]) -> list[PairRewards]:
        """Return the rewards of pairs; each is asked for alone if one of them has none."""
        assert self._reward is not None
        sides = [Conversation(messages=side.messages) for pair in pairs for side in pair.sides]
        try:
            scored = _score_turns(self._reward, sides)
        except UnscorableError as error:
            if len(pairs) == 1:
                return [PairRewards(problem=str(error))]
            return [rewards for pair in pairs for rewards in self.score([pair])]
        return [_pair_rewards(*both) for both in zip(scored[::2], scored[1::2], strict=True)]


class FileRewards:
    """The rewards in what `music score --per-turn` wrote for pairs, by the pairs' ids.

    Args:
        name: A file, or a folder with parts.

    Raises:
        InvalidInputError: It does not hold rewards per turn of pairs.
    """

    batch_size = 1000

    def __init__(self, name: str) -> None:
        self.name = name
        path = Path(name).expanduser()
        self._files = sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]
        self._rows: dict[str, list[PairRewards]] = {}
        first = next((row.content for file in self._files for row in file_rows(file)), None)
        if not (isinstance(first, dict) and isinstance(first.get("chosen"), dict) and "turns" in first["chosen"]):
            raise InvalidInputError(
                f"--model {name}: expected a reward, or scores of pairs by `music score MODEL PAIRS --per-turn --out "
                f"{name}`, got {_described(first)}"
            )

    def load(self) -> str:
        """Read the file."""
        for row in (row.content for file in self._files for row in file_rows(file)):
            if isinstance(row, dict) and isinstance(row.get("chosen"), dict) and isinstance(row.get("rejected"), dict):
                id = str(row["id"]).partition("#")[0]  # a repeated id is numbered
                self._rows.setdefault(id, []).append(_of_row(row))
        stats = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in self._files]
        return hashlib.sha256(orjson.dumps(stats)).hexdigest()

    def score(self, pairs: Sequence[Record]) -> list[PairRewards]:
        """Return the rewards of pairs that have the same id and as many turns as in the file."""
        return [self._score(pair) for pair in pairs]

    def _score(self, pair: Record) -> PairRewards:
        turns = [Conversation(messages=side.messages).num_turns for side in pair.sides]
        rows = self._rows.get(pair.id.partition("#")[0], [])
        found = [row for row in rows if row.problem or [len(row.chosen), len(row.rejected)] == turns]
        if len(set(found)) == 1:
            return found[0]
        why = "several rows have its id" if found else "no row has its id and as many turns"
        return PairRewards(problem=f"not in the file: {why}")


def _of_row(row: dict[str, Any]) -> PairRewards:
    chosen, rejected = row["chosen"], row["rejected"]
    if problem := chosen.get("problem") or rejected.get("problem"):
        return PairRewards(problem=str(problem))
    turns = [tuple(map(float, side.get("turns") or ())) for side in (chosen, rejected)]
    return PairRewards(turns[0], turns[1], float(chosen["score"]) - float(rejected["score"]))


def _described(row: object) -> str:
    return f"rows with {', '.join(row)}" if isinstance(row, dict) else "no row"


def _score_turns(reward: RewardFunction, conversations: Sequence[Conversation]) -> list[Scored]:
    """Return the reward after each assistant turn, and the score by the reward's own readout.

    Raises:
        UnscorableError: A conversation has no reward.
    """
    if not hasattr(reward, "score_turns"):
        return _score_beginnings(reward, conversations)
    try:
        if hasattr(reward, "score_encoded"):  # a `RewardModel`, whose problems are data
            scored: list[Scored] = reward.score_each(conversations, per_turn=True)  # type: ignore[attr-defined]
            return scored
        turns = reward.score_turns(conversations)
    except ContractError:  # the template renders a beginning differently once more turns follow
        return _score_beginnings(reward, conversations)
    contract = getattr(reward, "contract", None)
    return [Scored(read_rewards(contract.readout if contract else "last", each), tuple(each)) for each in turns]


def _score_beginnings(reward: RewardFunction, conversations: Sequence[Conversation]) -> list[Scored]:
    """Score each conversation cut after each assistant turn; beginnings that sides share are scored once."""
    cut = {each.prefix(end).messages: each.prefix(end) for each in conversations for end in each.turn_ends}
    found = dict(zip(cut, reward(list(cut.values())), strict=True))
    turns = [tuple(found[each.messages[:end]] for end in each.turn_ends) for each in conversations]
    return [Scored(each[-1], each) if each else Scored(None, problem=Unscorable.NO_REPLY) for each in turns]


def _pair_rewards(chosen: Scored, rejected: Scored) -> PairRewards:
    if chosen.score is None or rejected.score is None:
        return PairRewards(problem=str(chosen.problem or rejected.problem))
    return PairRewards(chosen.turns, rejected.turns, chosen.score - rejected.score)
