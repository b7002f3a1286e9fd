import pytest

from music.errors import InvalidInputError
from music.llm import ChangedSettingsError
from music_agents import DefectsConfig
from music_agents.defects.run import make_defects
from music_agents.defects.swaps import read_transcripts
from music_agents.quality import read_saved_pairs
from music_agents.run import RunStatus

CONFIG = DefectsConfig(contrast="sandbox", num_pairs=6, strategy={"instruction": 1.0})


def models(model):
    return {"assistant": model, "contrast": model}


async def test_a_run_goes_on_without_paying_twice(fake_model, transcripts, tmp_path):
    first, second = fake_model(), fake_model()
    few = CONFIG.model_copy(update={"num_pairs": 2})
    report = await make_defects(few, tmp_path, transcripts, models=models(first))
    assert (report.status, report.num_pairs, len(first.requests)) == (RunStatus.COMPLETE, 2, 2)
    report = await make_defects(CONFIG, tmp_path, transcripts, models=models(second))
    assert (report.num_pairs, len(second.requests)) == (6, 4)
    assert report.endpoints == {"assistant": "fake", "contrast": "fake"}
    assert [pair.id for pair in read_saved_pairs(tmp_path)] == [f"music-0-{index:06d}" for index in range(6)]


async def test_other_settings_or_conversations_do_not_mix(fake_model, transcripts, tmp_path):
    await make_defects(CONFIG, tmp_path, transcripts, models=models(fake_model()))
    changed = CONFIG.model_copy(update={"same_author": True})
    with pytest.raises(ChangedSettingsError, match="same_author: false -> true"):
        await make_defects(changed, tmp_path, transcripts, models=models(fake_model()))
    with pytest.raises(ChangedSettingsError, match="transcripts: "):
        await make_defects(CONFIG, tmp_path, transcripts[1:], models=models(fake_model()))


async def test_more_pairs_than_turns_are_refused(fake_model, transcripts, tmp_path):
    wanted = CONFIG.model_copy(update={"num_pairs": 10})
    with pytest.raises(InvalidInputError, match="at most 9 pairs, one for each assistant turn of 3"):
        await make_defects(wanted, tmp_path / "run", transcripts, models=models(fake_model()))
    assert not (tmp_path / "run").exists()


def test_conversations_and_chosen_sides_are_read(tmp_path):
    (tmp_path / "talk.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]}\n'
    )
    (tmp_path / "pairs.jsonl").write_text('{"id": "p", "prompt": "Hi", "chosen": "Hello.", "rejected": "Go."}\n')
    talk, pairs = (read_transcripts(str(tmp_path / name))[0] for name in ("talk.jsonl", "pairs.jsonl"))
    assert [(one.id, one.source) for one in talk + pairs] == [("talk-1", "talk"), ("p", "pairs")]
    assert talk[0].conversation == pairs[0].conversation
