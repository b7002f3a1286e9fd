"""Cards: what the hub reads of them, and edits that are kept."""

import pytest
from huggingface_hub import ModelCard

from music.hub.card import base_model, plain_name, write_card


def test_the_hub_reads_the_metadata_and_the_owner_adds_a_license(tmp_path):
    assert write_card(tmp_path, {"base_model": None, "library_name": "transformers", "tags": ["a"]}, "# Title\n")
    text = (tmp_path / "README.md").read_text()
    assert ModelCard(text).data.to_dict() == {"library_name": "transformers", "tags": ["a"]}
    assert "# Title" in text
    licensed = text.replace("tags:", "license: apache-2.0\ntags:", 1)
    assert ModelCard(licensed).data.license == "apache-2.0"


def test_a_card_is_written_again_unless_it_is_the_users_own(tmp_path):
    assert write_card(tmp_path, {}, "first")
    assert write_card(tmp_path, {}, "second")
    path = tmp_path / "README.md"
    mark = next(line for line in path.read_text().splitlines() if line.startswith("<!--"))
    path.write_text(path.read_text().replace(mark, "").replace("second", "mine"))
    own = path.read_text()
    assert not write_card(tmp_path, {}, "third")
    assert path.read_text() == own


@pytest.mark.parametrize(
    ("name", "hub_id"),
    [("google/gemma-2-9b-it", "google/gemma-2-9b-it"), ("runs/rm", None), ("sandbox", None), ("/data/a/b", None)],
)
def test_the_base_is_named_if_it_is_on_the_hub(tmp_path, monkeypatch, name, hub_id):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "rm").mkdir(parents=True)
    assert base_model(name) == hub_id


def test_no_address_and_no_folder_is_in_the_name_of_a_model():
    assert plain_name("org/m@http://10.0.0.7:8000/v1") == "org/m"
    assert plain_name("local:/models/llama?chat_template=x") == "local:llama"
    assert plain_name("sandbox:fair") == "sandbox:fair"
