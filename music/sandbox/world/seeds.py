"""Data drawn from the sandbox's world: preference pairs, and conversations with graded turns.

`seed_pairs` takes the place of a set like Skywork's. As in such sets, the two sides differ in the last turn only, and
most pairs have a single turn. Both replies come from the same assistant; the oracle decides which is preferred, with
Bradley-Terry noise.
"""

import math
import random
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from music.pairs import PreferencePair
from music.sandbox.world.contrasts import contrast_turn, drop_constraint
from music.sandbox.world.oracle import grade_turns
from music.sandbox.world.players import converse, reply, user_turn

__all__ = ["contrast_pairs", "seed_pairs", "turn_label_rows"]

CARELESSNESS = (0.5, 1.0, 1.5)
SINGLE_TURN_SHARE = 0.9
BETA = 8.0


def seed_pairs(
    num: int,
    seed: int,
    *,
    single_turn_share: float = SINGLE_TURN_SHARE,
    label_noise: bool = True,
    memory: bool = False,
) -> list[PreferencePair]:
    """Draw preference pairs that differ in the last turn only.

    Args:
        num: Number of pairs.
        seed: Seed of the pairs.
        single_turn_share: Share of pairs with one turn; the others have two to four.
        label_noise: Whether labels follow Bradley-Terry odds (8 times the oracle's difference) instead of the oracle.
        memory: Whether the users have memory, see `SandboxModel`.

    Example:
        >>> [pair.id for pair in seed_pairs(2, 0)]
        ['sandbox-0-000000', 'sandbox-0-000001']
    """
    return list(islice(_pairs(seed, single_turn_share, label_noise, memory), num))


def contrast_pairs(num: int, seed: int, *, max_turns: int = 3) -> list[PreferencePair]:
    """Draw pairs with a contrasted last reply, half against the request and half against standing wishes.

    They need no labels. The two sides share their random errors, so they differ only by the contrast.
    """
    rng = random.Random(f"contrast-pairs/{seed}")
    pairs: list[PreferencePair] = []
    while len(pairs) < num:
        tag, carelessness = f"{seed}/{rng.random()}", rng.choice(CARELESSNESS)
        history = converse(rng.randint(0, max_turns - 1), tag, carelessness)
        history = history.user(user_turn(history, f"{tag}/last"))
        spoil = rng.choice((contrast_turn, partial(drop_constraint, otherwise=contrast_turn)))
        good, spoilt = reply(history, tag, CARELESSNESS[0]), spoil(history, tag, CARELESSNESS[0])
        if good and spoilt and good != spoilt[1]:
            sides = history.assistant(good), history.assistant(spoilt[1])
            id_ = f"sandbox-contrast-{seed}-{len(pairs):06d}"
            pairs.append(PreferencePair(id=id_, chosen=sides[0], rejected=sides[1], source="sandbox"))
    return pairs


def turn_label_rows(num: int, num_turns: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield conversations with the oracle's grade of each assistant turn, as rows for `music evaluate turn_labels`.

    Args:
        num: Conversations.
        num_turns: Assistant turns of each.
        seed: Seed of the conversations, and of the assistant's carelessness in each.
    """
    rng = random.Random(f"turn-labels/{seed}")
    for number in range(num):
        conversation = converse(num_turns, f"turn-labels/{seed}/{number}", rng.choice(CARELESSNESS))
        grades = {each.turn: round(each.score, 2) for each in grade_turns(conversation)}
        labels = [grades.get(turn) for turn in range(num_turns)]
        yield {"id": f"sandbox-{seed}-{number:06d}", "messages": conversation.to_messages(), "labels": labels}


def _pairs(seed: int, single_turn_share: float, label_noise: bool, memory: bool) -> Iterator[PreferencePair]:
    """Yield pairs without end; ties are left out."""
    rng = random.Random(f"seed-pairs/{seed}")
    number = 0
    while True:
        tag = f"{seed}/{rng.random()}"
        turns = 1 if rng.random() < single_turn_share else rng.randint(2, 4)
        history = converse(turns - 1, tag, rng.choice(CARELESSNESS), memory=memory)
        history = history.user(user_turn(history, f"{tag}/last", memory=memory))
        sides = [
            history.assistant(reply(history, f"{tag}/{i}", rng.choice(CARELESSNESS)) or "Certainly.") for i in (0, 1)
        ]
        better = grade_turns(sides[0])[-1].score - grade_turns(sides[1])[-1].score
        if not better:
            continue
        first = rng.random() < 1 / (1 + math.exp(-BETA * better)) if label_noise else better > 0
        chosen, rejected = sides if first else sides[::-1]
        yield PreferencePair(id=f"sandbox-{seed}-{number:06d}", chosen=chosen, rejected=rejected, source="sandbox")
        number += 1
