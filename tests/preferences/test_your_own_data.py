"""Every row that docs/your-own-data.md shows is read as the page says."""

import re
from pathlib import Path

import pytest

from music.preferences import Format, read_conversations, read_preferences, read_seeds

PAGE = (Path(__file__).parents[2] / "docs" / "your-own-data.md").read_text(encoding="utf-8")
LONE = {Format.MESSAGES, Format.CONVERSATIONS, Format.PROMPT, Format.EXCHANGES}
SECTIONS = {
    name: re.findall(r"```json\n(.*?)```", body, re.DOTALL)
    for name, body in re.findall(r"^### (\S+)\n(.*?)(?=^#|\Z)", PAGE, re.DOTALL | re.MULTILINE)
}
ROWS = [(Format(name), text) for name, texts in SECTIONS.items() for text in texts]


def test_the_page_has_a_row_of_every_format():
    assert set(SECTIONS) == set(Format)
    assert all(SECTIONS.values())


@pytest.mark.parametrize(("format", "text"), [row for row in ROWS if row[0] not in LONE])
def test_a_row_of_the_page_gives_pairs_of_its_format(tmp_path, format, text):
    path = tmp_path / "rows.json"
    path.write_text(text)
    found = read_preferences(path)
    assert (list(found.formats), found.rejected, found.num_ties) == ([format], (), 0)
    last = {(pair.chosen.messages[-1].content, pair.rejected.messages[-1].content) for pair in found.pairs}
    assert last in (
        {("Hello.", "What?")},
        {("Rest.", "No.")},
        {("Sencha.", "No.")},
        {("Hello.", "Yes?"), ("Hello.", "What?"), ("Yes?", "What?")},
    )
    assert read_preferences(path, format=format).pairs == found.pairs
    # Pairs that share a request give one seed.
    assert [seed.conversation for seed in read_seeds(path).seeds] == [found.pairs[0].chosen]


@pytest.mark.parametrize(("format", "text"), [row for row in ROWS if row[0] in LONE])
def test_a_row_of_the_page_without_a_comparison_is_a_conversation(tmp_path, format, text):
    path = tmp_path / "rows.json"
    path.write_text(text)
    found = read_seeds(path)
    assert found.summary == f"1 conversations from rows.json ({format})"
    assert found.seeds[0].conversation.messages[0].role == "user"
    if format is not Format.PROMPT:
        assert read_conversations(path) == (found.seeds[0].conversation,)
