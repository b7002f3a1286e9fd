"""The card of a finished set of pairs: what it is, how it was made, its figures and how to use it."""

from collections.abc import Iterator
from pathlib import Path

from music.hub.card import plain_name, write_card
from music_agents.run.report import RunReport

__all__ = ["write_pairs_card"]

_FIELDS = {
    "num_turns": "simulated turns of each side",
    "schedule": "contrasted turns",
    "personas": "personas",
    "temperature": "temperature",
    "seed": "seed of all draws",
}
"""The settings that a reader looks for first."""
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_COLUMNS = """\
| column | content |
|---|---|
| `chosen`, `rejected` | the two conversations, as lists of `{"role", "content"}` |
| `num_seed_messages` | how many messages at the beginning both sides share |
| `contrasts` | each turn that was made worse: its number, the strategy and the modified instruction |
| `models` | the endpoint of each role |
| `id`, `seed_id`, `source`, `seed`, `persona`, `usage`, `retries`, `judgement` | its origin and its cost |"""


def write_pairs_card(folder: Path, report: RunReport) -> None:
    """Write the card of a set that is complete and diagnosed; another one gets none.

    Raises:
        MusicError: It could not be written.
    """
    if report.diagnostics is None:
        return
    metadata = {
        "tags": ["preference-pairs", "reward-model", "multi-turn", "synthetic", "music-rm"],
        "size_categories": [next((name for bound, name in _SIZES if report.num_pairs < bound), "1M<n<10M")],
        "configs": [{"config_name": "default", "data_files": "*.parquet"}],
    }
    write_card(folder, metadata, _text(report))


def _text(report: RunReport) -> str:
    assert report.diagnostics is not None
    origin = "swapped from real replies" if report.settings.get("strategy") == "swap" else "simulated"
    provenance = "\n".join(_provenance(report))
    return f"""# {report.num_pairs:,} preference pairs of conversations, {origin}

Each pair is two conversations that begin alike: `chosen`, and `rejected`, in which the assistant's replies were made
worse. A reward model learns from them to judge whole conversations.

## How they were made

{provenance}

## Columns

{_COLUMNS}

## Figures

```
{report.diagnostics.describe()}
```

Brackets are 95% intervals over pairs.

## Use

```python
from datasets import load_dataset

pairs = load_dataset("DIR_OR_REPO_ID", split="train")
```

`music train DIR_OR_REPO_ID --base MODEL --out runs/rm` trains a reward model on them. TRL's `RewardTrainer` takes them
unchanged. Hold out whole seeds (`seed_id`), not pairs: pairs of one seed begin alike.
"""


def _provenance(report: RunReport) -> Iterator[str]:
    """Yield models, settings, counts and versions, one in a line."""
    settings = report.settings
    roles = ", ".join(f"{role} `{plain_name(name)}`" for role, name in report.endpoints.items())
    mix = settings.get("strategy", "")
    if isinstance(mix, dict):
        mix = ", ".join(f"{name} {weight:g}" for name, weight in mix.items())
    yield f"- models: {roles or 'none; the rejected replies are real replies to similar requests'}"
    yield f"- seeds: {settings.get('seed_pairs') or settings.get('transcripts') or 'not recorded'}"
    yield f"- contrasts, by weight: {mix}"
    for name, words in _FIELDS.items():
        if settings.get(name) not in (None, ""):
            yield f"- {words}: {settings[name]}"
    dropped = ", ".join(f"{reason} {num:,}" for reason, num in report.failures.items()) or "none"
    yield f"- pairs: {report.num_pairs:,} kept, dropped: {dropped}"
    yield f"- versions: {', '.join(f'{name} {version}' for name, version in report.versions.items())}"
