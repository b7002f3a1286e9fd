"""Pairs and tests of the real-text experiment: `python -m benchmarks.real_text --data DIR --base MODEL --out OUT`.

Turns the public files that docs/experiments/real-text.md names into the files that docs/experiments/real-text.toml
reads, always the same ones, and prints a table of them. Texts are unchanged. A pair is left out if a side cannot be
read within `MAX_LENGTH` tokens of the base, because its last turn alone is longer; a defect is also left out if a side
is longer as a whole, as the turn with the defect might not be read.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from benchmarks.real_text_defects import KINDS, draw_defects
from benchmarks.real_text_votes import Matches, MatchKey, is_unseen, read_matches
from music.aio import run_async
from music.errors import InvalidInputError
from music.evaluation.benchmarks.defects import find_defect
from music.pairs import ContrastivePair, PreferencePair
from music.preferences import read_preferences, write_rows
from music.preferences.split import seed_key
from music.reward.tokens.encoding import ConversationTokenizer, Encoding
from music_agents.defects.swaps import Transcript, read_transcripts
from music_agents.quality import read_saved_pairs
from music_agents.swap import SwapConfig, make_swaps
from music_agents.swap.corpus import hold_out

__all__ = ["PairFile", "dialogues", "main", "preferences"]

MAX_LENGTH = 2048
"""Tokens of the longest conversation that the reward models read."""
SEED = 0
"""Seed of the division of the dialogues, of their swaps and of the defects."""
DIFFERENT_WINNERS = 120
"""Matches of the published votes whose two turns have different winners."""
HH, DPO_EN_DEMO = "hh_harmless_base_test.jsonl.gz", "preferences_skywork_schema.parquet"
MT_BENCH, DIALOGUES = "mt_bench", "mtbench101.jsonl"
DEFECTS = "defects"


@dataclass(frozen=True, slots=True)
class PairFile:
    """The pairs of one file.

    Attributes:
        name: Its name, without the suffix.
        pairs: Its pairs.
        left_out: Number of pairs that are left out, by reason.
    """

    name: str
    pairs: Sequence[PreferencePair]
    left_out: Counter[str] = field(default_factory=Counter)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the files and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the public files")
    parser.add_argument("--base", required=True, help="folder or hub id of the model whose tokens are counted")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new files")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    tokens = ConversationTokenizer.from_tokenizer(AutoTokenizer.from_pretrained(options.base), MAX_LENGTH)
    files = [_fitted(file, tokens) for file in (*preferences(options.data), *dialogues(options.data, options.out))]
    for file in files:
        write_rows((_row(pair, file.name) for pair in file.pairs), options.out / f"{file.name}.jsonl")
    print_files(files, tokens)
    print_defects(files[-1])


def preferences(data: Path) -> Iterator[PairFile]:
    """Yield the files of preferences: pairs to train on, and tests.

    Raises:
        InvalidInputError: A file is missing, or the votes are not the published ones.
    """
    hh, demo = _pairs(data / HH, "hh"), _pairs(data / DPO_EN_DEMO, "dpo-en-demo")
    matches = read_matches(data / MT_BENCH)
    if len(matches.differ) != 2 * DIFFERENT_WINNERS:
        raise InvalidInputError(
            f"{data / MT_BENCH}: expected {DIFFERENT_WINNERS} matches whose two turns have different winners, as among "
            f"the published votes, got {len(matches.differ) / 2:g}: give all human votes"
        )
    first = _matches(matches, "single", lambda key: key[3] == 1 and is_unseen(key))
    single = [pair for file in (hh, demo) for pair in file.pairs if pair.chosen.num_turns == 1]
    yield from (hh, demo)
    yield _matches(matches, "votes", lambda key: key[3] == 1 and not is_unseen(key))
    yield _matches(matches, "turn2-unseen", lambda key: key[3] == 2 and is_unseen(key))
    yield _matches(matches, "turn2-all", lambda key: key[3] == 2)
    yield _matches(matches, "turn2-differs", lambda key: key[3] == 2 and key in matches.differ)
    yield PairFile("single", [*first.pairs, *single], first.left_out)


def dialogues(data: Path, out: Path) -> Iterator[PairFile]:
    """Yield the files made from dialogues: swaps of one half of them, and defects of the other half.

    The halves, and the swaps at every turn, are those of `music swap --eval-fraction 0.5 --seed 0`.
    """
    transcripts, _ = read_transcripts(str(data / DIALOGUES))
    training, held_out = hold_out(transcripts, 0.5, SEED, DIALOGUES)
    swaps = {schedule: _swaps(training, schedule, out / "swap" / schedule) for schedule in ("all", "last")}
    shared = swaps["all"].keys() & swaps["last"].keys()
    missing = Counter({"without a swap, or with none in the last turn": len(training) - len(shared)})
    for schedule, pairs in swaps.items():
        yield PairFile(f"swap-{schedule}", [pair for id, pair in pairs.items() if id in shared], missing)
    swapped = {id: pair.rejected for id, pair in _swaps(held_out, "all", out / "swap" / "held-out").items()}
    drawn = list(draw_defects({one.id: one.conversation for one in held_out}, swapped, SEED))
    left_out = Counter(f"without a turn for {kind}" for kind, pair in drawn if pair is None)
    yield PairFile(DEFECTS, [pair for _, pair in drawn if pair is not None], left_out)


def print_files(files: Sequence[PairFile], tokens: ConversationTokenizer) -> None:
    """Print the size of each file; tokens are those of both sides, as a reward model reads them."""
    print("| file | pairs | prompts | turns | tokens | pairs without their oldest turns | left out |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for file in files:
        sides = [tokens.encode_all([pair.chosen, pair.rejected]) for pair in file.pairs]
        cells = (
            f"{len(file.pairs):,}",
            f"{len({seed_key(pair) for pair in file.pairs}):,}",
            f"{sum(pair.chosen.num_turns for pair in file.pairs) / max(1, len(file.pairs)):.2f}",
            f"{sum(len(side.ids) for both in sides for side in both):,}",
            f"{sum(any(side.num_dropped_turns for side in both) for both in sides)}",
            "; ".join(f"{num} {reason}" for reason, num in sorted(file.left_out.items())),
        )
        print(f"| {file.name} | {' | '.join(cells)} |")


def print_defects(file: PairFile) -> None:
    """Print how many defects of each kind are before the last turn and in it."""
    places = Counter((pair.source, find_defect(pair) == pair.chosen.num_turns - 1) for pair in file.pairs)
    print("\n| defect | before the last turn | in the last turn |\n| --- | --- | --- |")
    for kind in KINDS:
        print(f"| {kind} | {places[kind, False]} | {places[kind, True]} |")


def _pairs(path: Path, name: str) -> PairFile:
    """Read a file of preference pairs."""
    found = read_preferences(path)
    pairs = [pair.model_copy(update={"source": name}) for pair in found.pairs]
    return PairFile(name, pairs, Counter(str(row.problem).replace("_", " ") for row in found.rejected))


def _matches(matches: Matches, name: str, is_wanted: Callable[[MatchKey], bool]) -> PairFile:
    """Return the pairs of some matches."""
    pairs = [pair for key, pair in matches.pairs.items() if is_wanted(key)]
    return PairFile(name, pairs, Counter(reason for key, reason in matches.left_out.items() if is_wanted(key)))


def _swaps(transcripts: Sequence[Transcript], schedule: str, out: Path) -> dict[str, ContrastivePair]:
    """Return the swaps of dialogues, by the dialogue's id."""
    run_async(make_swaps(SwapConfig(schedule=schedule, seed=SEED), out, transcripts))
    return {pair.seed_id: pair for pair in read_saved_pairs(out)}


def _fitted(file: PairFile, tokens: ConversationTokenizer) -> PairFile:
    """Leave out the pairs that a reward model cannot read, or whose defect it might not read."""
    kept, left_out = list[PreferencePair](), Counter(file.left_out)
    for pair in file.pairs:
        for side in tokens.encode([pair.chosen, pair.rejected]):
            if not isinstance(side, Encoding):
                left_out[str(side).replace("_", " ")] += 1
                break
            if side.num_dropped_turns and file.name == DEFECTS:
                left_out["over long"] += 1
                break
        else:
            kept.append(pair)
    return PairFile(file.name, kept, left_out)


def _row(pair: PreferencePair, name: str) -> dict[str, Any]:
    """Return a pair as a row; the source of a defect is its kind."""
    sides = {"chosen": pair.chosen.to_messages(), "rejected": pair.rejected.to_messages()}
    return {"id": pair.id, "source": pair.source, **({"kind": pair.source} if name == DEFECTS else {}), **sides}


if __name__ == "__main__":
    main()
