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
from music.sandbox import Outcome, oracle_outcomes, oracle_score
from music.sandbox.world.defects import DEFECT_KINDS, ERROR_GROUPS, MEMORY_GROUPS, first_turn
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

KIND_TABLE = "Accuracy by kind of error and turn"
SINGLE_TURNS = "single turns"
GREEDY = f"greedy Best-of-{GREEDY_CANDIDATES}"
DIGITS = 5


class SandboxSettings(TestSizes):
    """The sandbox's test sets, declared in `[sandbox]`."""

    memory: bool = False
    """Whether users have memory, in test sets and training pairs: they point out errors, follow plans, and ask what was
    said. Best-of-N is then measured by four outcomes, see `Outcome`."""

    @property
    def groups(self) -> dict[str, tuple[ErrorKind, ...]]:
        """The kinds of errors by group."""
        return ERROR_GROUPS | (MEMORY_GROUPS if self.memory else {})

    @property
    def kinds(self) -> tuple[ErrorKind, ...]:
        """The kinds of errors."""
        return tuple(dict.fromkeys([*DEFECT_KINDS, *(kind for kinds in self.groups.values() for kind in kinds)]))

    def places(self) -> Iterator[tuple[str, ErrorKind, int]]:
        """Yield the kinds and turns of errors by group, in the order of values."""
        for group, kinds in self.groups.items():
            for kind in kinds:
                for turn in range(first_turn(kind), self.num_turns):
                    yield group, kind, turn


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
    greedy = _greedy(model.score, settings, seed)
    values: Values = {}
    for readout in READOUTS:
        rewards = {conversation: read_rewards(readout, by_turn) for conversation, by_turn in turns.items()}
        for name, of_measure in {
            **_hits(settings, sets, rewards),
            **_best_of_n(settings, sets, rewards),
            **greedy,
        }.items():
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
        name: _best_of_n(settings, sets, dict(zip(finished, reward(finished), strict=True)))
        | _greedy(reward, settings, seed)
        for name, reward in selectors.items()
    }


@cache
def _test_sets(settings: SandboxSettings, seed: int) -> TestSets:
    """Draw the test sets, once per process."""
    return draw_test_sets(settings, seed, {str(kind): (kind,) for kind in settings.kinds}, memory=settings.memory)


def _conversations(sets: TestSets) -> list[Conversation]:
    pairs = [defect.pair for some in sets.defects.values() for defect in some] + sets.single_turn
    sides = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    return list(dict.fromkeys([*sides, *_finished(sets)]))


def _finished(sets: TestSets) -> list[Conversation]:
    finished = [rollout.conversation for pool in sets.pools for rollout in pool if not rollout.is_failed]
    return list(dict.fromkeys(finished))


def _hits(settings: SandboxSettings, sets: TestSets, rewards: Mapping[Conversation, float]) -> dict[str, list[float]]:
    """Return for each pair whether its flawless side has the higher reward, by measure; a tie counts as wrong."""

    def hits(pairs: Sequence[PreferencePair]) -> list[float]:
        return [float(rewards[pair.chosen] > rewards[pair.rejected]) for pair in pairs]

    by_kind = {_kind_name(*place): hits([defect.pair for defect in some]) for place, some in sets.defects.items()}
    found: dict[str, list[float]] = {}
    for group, kind, turn in settings.places():
        found.setdefault(_group_name(group, turn, settings), []).extend(by_kind[_kind_name(kind, turn)])
    return found | {SINGLE_TURNS: hits(sets.single_turn)} | by_kind


def _best_of_n(
    settings: SandboxSettings, sets: TestSets, rewards: Mapping[Conversation, float]
) -> dict[str, list[float]]:
    """Return the oracle's grades of the conversation that is selected from each pool, by measure."""
    from music_envs import select_best

    found: dict[str, list[float]] = {}
    for num in NUM_CANDIDATES:
        pools = [pool[:num] for pool in sets.pools]
        selected = select_best(pools, lambda conversations: [rewards[each] for each in conversations])
        found |= _graded(f"Best-of-{num}", selected, settings)
    return found


def _greedy(reward: RewardFunction, settings: SandboxSettings, seed: int) -> dict[str, list[float]]:
    """Return the oracle's grades of the conversations that a reward chooses reply by reply, by measure."""
    return _graded(GREEDY, play_greedy(reward, settings.num_conversations, seed, memory=settings.memory), settings)


def _graded(name: str, rollouts: "Sequence[Rollout]", settings: SandboxSettings) -> dict[str, list[float]]:
    """Return the grades of rollouts: by outcome if the users have memory, else their means."""
    assert not any(rollout.is_failed for rollout in rollouts), "the sandbox finishes every rollout"
    conversations = [rollout.conversation for rollout in rollouts]
    if not settings.memory:
        return {name: [round(grade, DIGITS) for grade in oracle_score(conversations)]}
    outcomes = [oracle_outcomes(conversation) for conversation in conversations]
    return {f"{name}: {outcome}": [round(each[outcome], DIGITS) for each in outcomes] for outcome in Outcome}


def _infos_of_pairs(settings: SandboxSettings) -> Iterator[MeasureInfo]:
    """Yield the accuracies of the main table."""
    clusters: dict[str, list[str]] = {}
    for group, kind, turn in settings.places():
        name = _group_name(group, turn, settings)
        clusters.setdefault(name, []).extend(_numbered(_kind_name(kind, turn), settings.num_defects))
    for name, some in clusters.items():
        yield MeasureInfo(name=name, unit="share", by_readout=True, clusters=tuple(some))
    single = tuple(_numbered(SINGLE_TURNS, settings.num_single_turn))
    yield MeasureInfo(name=SINGLE_TURNS, unit="share", by_readout=False, clusters=single)


def _infos_of_best_of_n(settings: SandboxSettings) -> Iterator[MeasureInfo]:
    pools = tuple(_numbered("pool", settings.num_conversations))
    for name in (*(f"Best-of-{num}" for num in NUM_CANDIDATES), GREEDY):
        for outcome in Outcome if settings.memory else (None,):
            yield MeasureInfo(
                name=f"{name}: {outcome}" if outcome else name,
                unit="share" if outcome is Outcome.GOAL else "grade",
                by_readout=name != GREEDY,
                clusters=pools,
                compared=name != f"Best-of-{min(NUM_CANDIDATES)}",
            )


def _infos_of_kinds(settings: SandboxSettings) -> Iterator[MeasureInfo]:
    for kind in settings.kinds:
        for turn in range(first_turn(kind), settings.num_turns):
            name = _kind_name(kind, turn)
            clusters = tuple(_numbered(name, settings.num_defects))
            yield MeasureInfo(
                name=name, unit="share", by_readout=True, group=KIND_TABLE, clusters=clusters, compared=False
            )


def _numbered(name: str, num: int) -> list[str]:
    return [f"{name}, {index}" for index in range(num)]


def _group_name(group: str, turn: int, settings: SandboxSettings) -> str:
    return f"{group}, {'last' if turn == settings.num_turns - 1 else 'early'}"


def _kind_name(kind: str, turn: int) -> str:
    return f"{kind}, turn {turn + 1}"
