"""The sandbox as a provider of measures: accuracy on pairs with one error and on single turns, and Best-of-N.

The test conversations are drawn from a seed of their own. No arm is trained on them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from music.conversation import Conversation
from music.files import replace_file
from music.pairs import PreferencePair
from music.reward.functions import RewardFunction, length_reward, random_reward
from music.reward.tokens.contract import read_rewards
from music.sandbox import oracle_score
from music.sandbox.world.defects import DEFECT_KINDS, ERROR_GROUPS
from music.sandbox.world.oracle import ErrorKind
from music_trainers.arms import (
    GREEDY_CANDIDATES,
    NUM_CANDIDATES,
    TestSets,
    TestSizes,
    draw_test_sets,
    play_greedy,
)
from music_trainers.experiment.measures import READOUTS, MeasureInfo, Scoring, Values

if TYPE_CHECKING:
    from music_envs import Rollout

__all__ = ["References", "SandboxSettings", "read_references", "sandbox_conversations", "sandbox_infos"]
__all__ += ["sandbox_values"]

KINDS = {str(kind): (kind,) for kind in DEFECT_KINDS}
"""The kinds of errors, each as a group of its own."""
KIND_TABLE = "Accuracy by kind of error and turn"
SINGLE_TURNS = "single turns"
GREEDY = f"greedy Best-of-{GREEDY_CANDIDATES}"
DIGITS = 5


class SandboxSettings(TestSizes):
    """Sizes of the sandbox's test sets, declared in `[sandbox]`."""


class References(BaseModel):
    """The Best-of-N values of selectors without a reward model, on the test conversations of a grid."""

    model_config = ConfigDict(frozen=True)

    sandbox: SandboxSettings | None
    test_seed: int
    values: dict[str, dict[str, list[float]]]
    """By selector (`random`, `longest` or `oracle`) and measure; empty without a sandbox."""


def sandbox_infos(settings: SandboxSettings) -> list[MeasureInfo]:
    """Return the sandbox's measures in the order of reports."""
    return [*_infos_of_pairs(settings), *_infos_of_best_of_n(settings), *_infos_of_kinds(settings)]


def sandbox_values(model: Scoring, settings: SandboxSettings, seed: int) -> Values:
    """Measure a reward model with all readouts, from one pass over the test sets.

    Greedy Best-of-N runs once, with the readout `last`.
    """
    sets = _test_sets(settings, seed)
    conversations = _conversations(sets)
    turns = dict(zip(conversations, model.score_turns(conversations), strict=True))
    greedy = _greedy(sets, model.score, seed)
    values: Values = {}
    for readout in READOUTS:
        rewards = {conversation: read_rewards(readout, by_turn) for conversation, by_turn in turns.items()}
        for name, of_measure in {**_hits(sets, rewards), **_best_of_n(sets, rewards), **greedy}.items():
            values.setdefault(name, {})[readout] = of_measure
    return values


def sandbox_conversations(settings: SandboxSettings, seed: int) -> list[Conversation]:
    """Return the test conversations, each once."""
    return _conversations(_test_sets(settings, seed))


def read_references(settings: SandboxSettings | None, test_seed: int, path: Path) -> References:
    """Read the references of these test conversations from `path`, or measure and write them."""
    if path.exists():
        kept = References.model_validate_json(path.read_bytes())
        if (kept.sandbox, kept.test_seed) == (settings, test_seed):
            return kept
    values = _reference_values(settings, test_seed) if settings else {}
    found = References(sandbox=settings, test_seed=test_seed, values=values)
    if settings:
        replace_file(path, found.model_dump_json() + "\n")
    return found


def _reference_values(settings: SandboxSettings, seed: int) -> dict[str, dict[str, list[float]]]:
    sets = _test_sets(settings, seed)
    finished = _finished(sets)
    selectors: dict[str, RewardFunction] = {
        "random": random_reward(seed),
        "longest": length_reward,
        "oracle": oracle_score,
    }
    return {
        name: _best_of_n(sets, dict(zip(finished, reward(finished), strict=True))) | _greedy(sets, reward, seed)
        for name, reward in selectors.items()
    }


@cache
def _test_sets(settings: SandboxSettings, seed: int) -> TestSets:
    """Draw the test sets, once per process."""
    return draw_test_sets(settings, seed, KINDS)


def _conversations(sets: TestSets) -> list[Conversation]:
    pairs = [defect.pair for some in sets.defects.values() for defect in some] + sets.single_turn
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    return list(dict.fromkeys([*sides, *_finished(sets)]))


def _finished(sets: TestSets) -> list[Conversation]:
    finished = [rollout.conversation for pool in sets.pools for rollout in pool if not rollout.is_failed]
    return list(dict.fromkeys(finished))


def _hits(sets: TestSets, rewards: Mapping[Conversation, float]) -> dict[str, list[float]]:
    """Return for each pair whether its flawless side has the higher reward, by measure; a tie counts as wrong."""

    def hits(pairs: Sequence[PreferencePair]) -> list[float]:
        return [float(rewards[pair.chosen] > rewards[pair.rejected]) for pair in pairs]

    by_kind = {_kind_name(*place): hits([defect.pair for defect in some]) for place, some in sets.defects.items()}
    last = max(turn for _, turn in sets.defects)
    found: dict[str, list[float]] = {}
    for group, kind, turn in _grouped_places(last + 1):
        found.setdefault(_group_name(group, is_last=turn == last), []).extend(by_kind[_kind_name(kind, turn)])
    return found | {SINGLE_TURNS: hits(sets.single_turn)} | by_kind


def _best_of_n(sets: TestSets, rewards: Mapping[Conversation, float]) -> dict[str, list[float]]:
    """Return the oracle's grade of the conversation that is selected from each pool, by measure."""
    from music_envs import select_best

    def select(num_candidates: int) -> "list[Rollout]":
        pools = [pool[:num_candidates] for pool in sets.pools]
        return list(select_best(pools, lambda conversations: [rewards[each] for each in conversations]))

    return {_best_of_name(num): _grades(select(num)) for num in NUM_CANDIDATES}


def _greedy(sets: TestSets, reward: RewardFunction, seed: int) -> dict[str, list[float]]:
    return {GREEDY: _grades(play_greedy(reward, len(sets.pools), seed))}


def _grades(rollouts: "Sequence[Rollout]") -> list[float]:
    from music_envs import grade_rollouts

    grades = grade_rollouts(rollouts, oracle_score)
    assert all(grade is not None for grade in grades), "the sandbox finishes every rollout"
    return [round(grade or 0.0, DIGITS) for grade in grades]


def _infos_of_pairs(settings: SandboxSettings) -> Iterator[MeasureInfo]:
    """Yield the accuracies of the main table."""
    clusters: dict[str, list[str]] = {}
    for group, kind, turn in _grouped_places(settings.num_turns):
        name = _group_name(group, is_last=turn == settings.num_turns - 1)
        clusters.setdefault(name, []).extend(_numbered(_kind_name(kind, turn), settings.num_defects))
    for name, some in clusters.items():
        yield MeasureInfo(name=name, unit="share", by_readout=True, clusters=tuple(some))
    single = tuple(_numbered(SINGLE_TURNS, settings.num_single_turn))
    yield MeasureInfo(name=SINGLE_TURNS, unit="share", by_readout=False, clusters=single)


def _infos_of_best_of_n(settings: SandboxSettings) -> Iterator[MeasureInfo]:
    pools = tuple(_numbered("pool", settings.num_conversations))
    for num in NUM_CANDIDATES:
        is_compared = num != min(NUM_CANDIDATES)
        yield MeasureInfo(name=_best_of_name(num), unit="grade", by_readout=True, clusters=pools, compared=is_compared)
    yield MeasureInfo(name=GREEDY, unit="grade", by_readout=False, clusters=pools)


def _infos_of_kinds(settings: SandboxSettings) -> Iterator[MeasureInfo]:
    for kind in DEFECT_KINDS:
        for turn in range(int(kind is ErrorKind.RECOLLECTION), settings.num_turns):
            name = _kind_name(kind, turn)
            clusters = tuple(_numbered(name, settings.num_defects))
            yield MeasureInfo(
                name=name, unit="share", by_readout=True, group=KIND_TABLE, clusters=clusters, compared=False
            )


def _grouped_places(num_turns: int) -> Iterator[tuple[str, ErrorKind, int]]:
    """Yield the kinds and turns of errors by group, in the order of values."""
    for group, kinds in ERROR_GROUPS.items():
        for kind in kinds:
            for turn in range(num_turns):
                yield group, kind, turn


def _numbered(name: str, num: int) -> list[str]:
    return [f"{name}, {index}" for index in range(num)]


def _group_name(group: str, *, is_last: bool) -> str:
    return f"{group}, {'last' if is_last else 'early'}"


def _kind_name(kind: str, turn: int) -> str:
    return f"{kind}, turn {turn + 1}"


def _best_of_name(num_candidates: int) -> str:
    return f"Best-of-{num_candidates}"
