import pytest

from music.conversation import Conversation, Message
from music.evaluation.benchmarks.pairs import pair_item
from music.evaluation.benchmarks.types import ItemSet
from music.evaluation.diagnostics.history import CUT, SWAPPED, history_figures, probe_pairs
from music.evaluation.diagnostics.scored_pairs import ScoredPairs

NAMES = ("Ann", "Bob", "Cid", "Dan", "Eve", "Fay", "Gus", "Hal")


@pytest.fixture
def pairs(make_pair):
    """Pairs whose chosen reply remembers the name, while the rejected one is the longer and the friendlier."""
    return [
        make_pair(name, [f"I am {name}.", "Hello!", "Who am I?"], f"{name}.", "I am so happy to see you, friend!")
        for name in NAMES
    ]


@pytest.fixture
def figures(pairs, probe_and_score, by_name):
    """Return the figures of a reward."""

    def of(reward, items=pairs, truncated=()):
        probed, (scores,) = probe_and_score(items, model=reward)
        by_id = scores.of(probed.scored.items)
        return by_name(history_figures(ScoredPairs(probed.items.items, by_id), probed, by_id, truncated))

    return of


def reads_history(conversation):
    first, last = conversation.messages[0].content, conversation.messages[-1].content
    return float(len(conversation.messages) > 2 and last in first.removeprefix("I am "))


def reads_reply_only(conversation):
    return float(len(conversation.messages[-1].content))


def test_a_reward_that_reads_the_reply_alone_is_found_out(figures):
    found = figures(lambda conversation: -reads_reply_only(conversation))
    assert found["as it is"].estimate.value == 1.0
    assert found["history cut"].estimate.value == 1.0
    assert found["ranked alike with the history cut"].estimate.value == 1.0
    assert found["what the history adds"].note == "within noise"
    assert found["history of another"].estimate.value == 1.0
    assert found["own history preferred"].estimate.value == 0.5  # all ties
    assert found["own history preferred"].note.startswith("within noise")
    assert found["own less other, in standard deviations"].estimate.value == 0.0


def test_a_reward_that_reads_the_history_is_told_apart(figures):
    found = figures(reads_history)
    assert found["as it is"].estimate.value == 1.0
    assert found["history cut"].estimate.value == 0.0
    assert "8 ties" in found["history cut"].note
    assert (found["what the history adds"].estimate.value, found["what the history adds"].note) == (
        1.0,
        "higher, beyond noise",
    )
    assert found["ranked alike with the history cut"].estimate.value == 0.0
    assert found["history of another"].estimate.value == 0.0
    assert found["own history preferred"].estimate.value == 1.0
    assert found["own less other, in standard deviations"].estimate.value == pytest.approx(2.0)  # half of them are 1


def test_pairs_with_the_same_last_exchange_are_told(make_pair, figures, pairs, talk):
    early = pair_item(
        "early", "a", talk("Hi.", "Hello!", "Bye.", "Bye!"), talk("Hi.", "Go away.", "Bye.", "Bye!"), prompt_id="early"
    )
    found = figures(lambda c: float("away" not in c.messages[1].content), [*pairs, early])
    assert found["as it is"].num_items == 9
    assert found["history cut"].num_items == 8
    assert "1 pairs left out, whose last exchange is the same on both sides" in found["history cut"].note


def test_pairs_of_one_turn_have_no_history(make_pair, figures, pairs):
    single = make_pair("single", ["Hi."], "Hello!", "Go away.")
    assert figures(reads_history, [*pairs, single])["as it is"].num_items == 8
    only = figures(reads_history, [single])["as it is"]
    assert (only.estimate, only.note) == (None, "no pair of several turns that has a probe")


def test_scores_that_do_not_see_the_history_are_told(figures):
    found = figures(reads_history, truncated={"Ann", f"Bob ({SWAPPED})", f"Bob ({CUT})"})
    assert found["as it is"].note == "2 of them scored without their oldest exchanges"


def test_the_cut_keeps_the_system_message_and_the_last_exchange():
    system = Conversation(messages=(Message(role="system", content="Be kind."),))
    history = system.user("Hi.").assistant("Hello!").user("And now?")
    pair = pair_item("a", "a", history.assistant("Yes."), history.assistant("No."))
    (cut,) = probe_pairs(ItemSet("preferences", (pair,))).probes[CUT].values()
    assert cut.completions == tuple(system.user("And now?").assistant(text) for text in ("Yes.", "No."))
    assert cut.prompt_id == "a"


def test_the_other_history_is_of_another_prompt_and_of_as_many_turns(make_pair, pairs):
    longer = [
        make_pair(f"long {name}", [f"{name} here.", "Hello!", "Well?", "Well.", "So?"], "Yes.", "No.") for name in NAMES
    ]
    again = [make_pair(f"again {name}", [f"I am {name}.", "Hello!", "Bye?"], "Bye.", "Ugh.") for name in NAMES]
    items = [*pairs, *again, *longer]
    swapped = probe_pairs(ItemSet("preferences", tuple(items))).probes[SWAPPED]
    for item in items:
        ours, theirs = item.completions[0], swapped[item.id].completions
        assert theirs[0].num_turns == ours.num_turns
        assert theirs[0].messages[0] != ours.messages[0]
        assert theirs[0].messages[:-1] == theirs[1].messages[:-1]
        assert [side.messages[-2:] for side in theirs] == [side.messages[-2:] for side in item.completions]


def test_without_another_prompt_there_is_no_other_history(make_pair):
    same = [make_pair(n, ["Hi.", "Hello!", f"Well {n}?"], "Yes.", "No.") for n in range(3)]
    probed = probe_pairs(ItemSet("preferences", tuple(same)))
    assert (len(probed.probes[CUT]), len(probed.probes[SWAPPED])) == (3, 0)
    assert len(probed.scored.items) == 6


def test_probes_are_the_same_each_time(pairs):
    items = ItemSet("preferences", tuple(pairs))
    assert probe_pairs(items) == probe_pairs(items)
    assert probe_pairs(items).probes[SWAPPED] != probe_pairs(items, seed=1).probes[SWAPPED]
