"""Schedules say which turns are contrasted; the others are the plain assistant's."""

from collections import Counter

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.pairs import TurnContrast, Usage
from music_agents.contrasts import ALL_TURNS, Schedule, ScheduledContrast
from music_agents.roles import RoleTurn, RoleView

NUM_TURNS = 5


def view(turn, pair=0, seed=1):
    asked = Conversation().user("Hi")
    return RoleView(
        conversation=asked, side="rejected", part="assistant", turn=turn, num_turns=NUM_TURNS, pair=pair, run_seed=seed
    )


def turns(text, pair=0, seed=1):
    schedule = Schedule.parse(text)
    return [turn + 1 for turn in range(NUM_TURNS) if schedule.covers(view(turn, pair, seed))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", [1, 2, 3, 4, 5]),
        ("first", [1]),
        ("last", [5]),
        ("turns:1,3", [1, 3]),
        ("turns: 3, 1, 9", [1, 3]),
        ("probability:1", [1, 2, 3, 4, 5]),
    ],
)
def test_turns_count_from_one(text, expected):
    assert turns(text) == expected


def test_probability_is_drawn_by_seed_pair_and_turn_and_never_leaves_a_pair_without_a_turn():
    drawn = [turns("probability:0.3", pair) for pair in range(400)]
    assert drawn == [turns("probability:0.3", pair) for pair in range(400)]
    assert drawn != [turns("probability:0.3", pair, seed=2) for pair in range(400)]
    assert all(drawn)
    counts = Counter(turn for some in drawn for turn in some)
    assert set(counts) == {1, 2, 3, 4, 5}
    assert 0.25 < sum(counts.values()) / (400 * NUM_TURNS) < 0.45
    rare = Counter(tuple(turns("probability:1e-9", pair)) for pair in range(400))
    assert set(rare) == {(1,), (2,), (3,), (4,), (5,)}


@pytest.mark.parametrize("text", ["all", "first", "last", "turns:1,3", "probability:0.5"])
def test_a_schedule_is_written_as_it_is_read(text):
    assert str(Schedule.parse(text)) == text
    assert Schedule.parse(f" {text} ") == Schedule.parse(text)


@pytest.mark.parametrize(
    "text", ["", "sometimes", "turns:", "turns:0", "turns:a", "probability:0", "probability:1.1", "probability:e"]
)
def test_an_unreadable_schedule_is_refused(text):
    with pytest.raises(InvalidInputError, match="expected all, first, last"):
        Schedule.parse(text)


def test_a_list_beyond_the_last_turn_is_refused():
    Schedule.parse("turns:5,9").check(5)
    ALL_TURNS.check(1)
    with pytest.raises(InvalidInputError, match="1 to 5"):
        Schedule.parse("turns:6").check(5)


async def test_unscheduled_turns_are_the_assistants_and_not_on_record():
    async def assistant(view):
        return RoleTurn(text="plain", usage=Usage())

    async def contrast(view):
        record = TurnContrast(turn=view.turn, strategy="s", modified_instruction="m")
        return RoleTurn(text="spoilt", usage=Usage(), contrast=record)

    role = ScheduledContrast(contrast, assistant, Schedule.parse("turns:2"))
    said = [await role(view(turn)) for turn in range(3)]
    assert [turn.text for turn in said] == ["plain", "spoilt", "plain"]
    assert [turn.contrast is not None for turn in said] == [False, True, False]
