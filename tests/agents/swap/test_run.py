from collections import Counter
from pathlib import Path

import pytest

from music.errors import InvalidInputError
from music.preferences import split_pairs
from music_agents.contrasts import Schedule
from music_agents.quality import read_saved_pairs
from music_agents.run import RunStatus
from music_agents.run.report import read_report, write_report
from music_agents.swap import SwapConfig, make_swaps
from music_agents.swap.corpus import hold_out, select
from tests.agents.swap.conftest import talk

CONFIG = SwapConfig(max_similarity=0.9)


async def make(config, out, transcripts):
    report = await make_swaps(config, out, transcripts)
    return report, list(read_saved_pairs(out))


def contents(directory):
    return {path.name: path.read_bytes() for path in Path(directory).iterdir() if path.name != "run.json"}


async def test_rejected_replies_are_real_and_recorded(transcripts, tmp_path):
    report, pairs = await make(CONFIG, tmp_path, transcripts)
    assert (report.status, report.num_pairs, report.spending.num_calls) == (RunStatus.COMPLETE, len(pairs), 0)
    assert len(pairs) >= 10
    by_id = {one.id: one.conversation for one in transcripts}
    for pair in pairs:
        assert pair.chosen == by_id[pair.seed_id]
        changed = {contrast.turn: contrast for contrast in pair.contrasts}
        for turn, end in enumerate(pair.chosen.turn_ends):
            asked, reply = pair.rejected.messages[end - 2 : end]
            assert asked == pair.chosen.messages[end - 2]
            if turn not in changed:
                assert reply == pair.chosen.messages[end - 1]
                continue
            source = changed[turn].parameters
            other = by_id[source["conversation"]]
            other_end = other.turn_ends[source["turn"]]
            assert source["conversation"] != pair.seed_id
            assert reply == other.messages[other_end - 1]
            assert changed[turn].modified_instruction == other.messages[other_end - 2].content
            assert CONFIG.min_similarity <= source["similarity"] <= CONFIG.max_similarity
    assert report.diagnostics.strategies == {"swap": sum(len(pair.contrasts) for pair in pairs)}


async def test_no_reply_is_more_often_rejected_than_chosen(transcripts, tmp_path):
    _, pairs = await make(CONFIG, tmp_path, transcripts)
    sides = {"chosen": Counter(), "rejected": Counter()}
    for pair in pairs:
        for turn in (contrast.turn for contrast in pair.contrasts):
            for side, replies in sides.items():
                conversation = getattr(pair, side)
                replies[conversation.messages[conversation.turn_ends[turn] - 1].content] += 1
    assert sides["chosen"] == sides["rejected"]


async def test_the_same_settings_make_the_same_files_and_another_seed_others(transcripts, tmp_path):
    some = CONFIG.model_copy(update={"schedule": "probability:0.5"})
    await make(some, tmp_path / "a", transcripts)
    await make(some, tmp_path / "b", transcripts)
    await make(some.model_copy(update={"seed": 1}), tmp_path / "c", transcripts)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


async def test_a_complete_run_is_left_alone_and_an_interrupted_one_is_made_again(transcripts, tmp_path):
    config = CONFIG.model_copy(update={"shard_size": 4})
    report, _ = await make(config, tmp_path, transcripts)
    files = contents(tmp_path)
    assert await make_swaps(config, tmp_path, transcripts) == report
    write_report(tmp_path / "run.json", report.model_copy(update={"status": RunStatus.RUNNING}))
    (tmp_path / "pairs-00002.parquet").unlink()
    assert (await make_swaps(config, tmp_path, transcripts)).status is RunStatus.COMPLETE
    assert contents(tmp_path) == files
    assert read_report(tmp_path / "run.json").num_pairs == report.num_pairs


async def test_pairs_of_another_run_are_not_replaced(transcripts, tmp_path):
    await make(CONFIG, tmp_path, transcripts)
    with pytest.raises(InvalidInputError, match=r"with other schedule\): give another output directory"):
        await make_swaps(CONFIG.model_copy(update={"schedule": "last"}), tmp_path, transcripts)
    with pytest.raises(InvalidInputError, match="with other transcripts"):
        await make_swaps(CONFIG, tmp_path, transcripts[1:])
    (tmp_path / "run.json").unlink()
    with pytest.raises(InvalidInputError, match="give another output directory"):
        await make_swaps(CONFIG, tmp_path, transcripts)


@pytest.mark.parametrize(("schedule", "turns"), [("last", {2}), ("first", {0}), ("turns:2,9", {1})])
async def test_the_schedule_says_which_turns_are_swapped(transcripts, tmp_path, schedule, turns):
    _, pairs = await make(CONFIG.model_copy(update={"schedule": schedule}), tmp_path, transcripts)
    assert {contrast.turn for pair in pairs for contrast in pair.contrasts} == turns


async def test_conversations_without_a_partner_are_counted(transcripts, tmp_path):
    lonely = talk("lonely", ("Zyzzyva?", "It is a weevil."))
    report, _ = await make(CONFIG, tmp_path, [lonely, *transcripts])
    assert report.failures["no_similar_request"] >= 1
    assert b'"seed_id":"lonely"' in (tmp_path / "failures.jsonl").read_bytes()


async def test_gates_drop_pairs_unless_they_are_off(transcripts, tmp_path):
    broken = talk("broken", ("How do I make good cocoa at home today", "Do it so: ```\nstir"))
    _, pairs = await make(CONFIG, tmp_path / "a", [*transcripts, broken])
    assert not any("stir" in message.content for pair in pairs for message in pair.rejected.messages)
    assert "broken" not in {pair.seed_id for pair in pairs}
    off = SwapConfig(max_similarity=0.9, max_length_ratio=9, gates=False)
    _, pairs = await make(off, tmp_path / "b", [transcripts[0], broken])
    assert "broken" in {pair.seed_id for pair in pairs}


async def test_no_text_of_a_held_out_conversation_is_trained_on(transcripts, tmp_path):
    twin = talk("twin", ("how do I make good tea  at home today", "Another answer on tea and water."))
    train, held_out = hold_out([*transcripts, twin], 0.35, 0, "talk.jsonl")
    assert len(held_out) >= 3
    same = {"t-0", "twin"}
    assert same <= {one.id for one in train} or same <= {one.id for one in held_out}
    _, pairs = await make(CONFIG, tmp_path, train)
    trained = {message.content for pair in pairs for side in (pair.chosen, pair.rejected) for message in side.messages}
    replies = {one.conversation.messages[-1].content for one in held_out}
    assert not trained & replies


async def test_a_later_split_keeps_conversations_with_one_beginning_together(transcripts, tmp_path):
    _, pairs = await make(CONFIG, tmp_path, transcripts)
    copies = [pair.model_copy(update={"seed_id": f"copy of {pair.seed_id}"}) for pair in pairs]
    train, held_out = split_pairs([*pairs, *copies], 0.3)
    assert held_out
    openings = [{pair.chosen.messages[-6].content for pair in part} for part in (train, held_out)]
    assert not openings[0] & openings[1]


def test_unusable_corpora_are_refused_by_name(transcripts):
    every, third = Schedule.parse("all"), Schedule.parse("turns:4,5")
    with pytest.raises(
        InvalidInputError, match=r"talk.jsonl: expected at least 2 conversations .* got 1, the first: t-0"
    ):
        select(transcripts[:1], every, "talk.jsonl")
    with pytest.raises(InvalidInputError, match=r"talk.jsonl: expected at least 2 conversations .* got 0"):
        select([], every, "talk.jsonl")
    with pytest.raises(InvalidInputError, match=r"talk.jsonl: expected .* at least 4 turns .* \(t-0\) has 3"):
        select(transcripts, third, "talk.jsonl")
    with pytest.raises(InvalidInputError, match=r"held out .--eval-fraction.: expected at least 2 .* got 1, "):
        hold_out(transcripts, 0.1, 0, "talk.jsonl")


def test_short_conversations_are_left_out_and_counted(transcripts):
    short = talk("short-7", ("How do I make tea", "With leaves."))
    kept, left_out = select([*transcripts, short], Schedule.parse("turns:2"), "talk.jsonl")
    assert kept == transcripts
    assert left_out.startswith("1 conversations left out")
    assert "short-7" in left_out
