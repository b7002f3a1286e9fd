"""The card of a finished set."""

from datasets import load_dataset
from huggingface_hub import DatasetCard

from music_agents import SimulationConfig, run_simulation
from music_agents.run.report import read_report


async def test_a_finished_set_has_a_card_that_finds_its_pairs(tmp_path):
    out = tmp_path / "pairs"
    await run_simulation(SimulationConfig(num_pairs=5, num_turns=2), out)
    card = DatasetCard((out / "README.md").read_text())
    assert card.data.size_categories == ["n<1K"]
    assert "license" not in card.data.to_dict()
    assert "# 5 preference pairs of conversations, simulated" in card.text
    assert "assistant `sandbox:good`" in card.text
    report = read_report(out / "run.json")
    assert report.diagnostics.describe() in card.text
    assert load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache")).num_rows == 5
