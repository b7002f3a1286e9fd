"""The card of a trained reward model: its contract, its data, its figures and how to score with it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from music.hub.card import base_model, write_card
from music.reward.tokens.contract import ScoreContract
from music_trainers.reward.config import RewardTrainingConfig
from music_trainers.reward.records import HeldOutMetrics, PairAccounting, SourceAccounting

__all__ = ["TrainedModel", "write_model_card"]

_READOUTS = {
    "last": "the reward at its last token",
    "turn_mean": "the mean of the rewards at the ends of its assistant turns",
    "turn_min": "the lowest of the rewards at the ends of its assistant turns",
    "end_weighted": "the mean of the rewards at the ends of its assistant turns, with weights 1, 2, 3, ...",
}


class TrainedModel(Protocol):
    """The record of a run, of all weights or of a head alone."""

    @property
    def config(self) -> RewardTrainingConfig:
        """Settings of the run."""

    @property
    def description(self) -> str:
        """Model, device and precision."""

    @property
    def pairs(self) -> PairAccounting:
        """Account of the training pairs."""

    @property
    def sources(self) -> tuple[SourceAccounting, ...]:
        """Account of each source."""

    @property
    def before(self) -> HeldOutMetrics | None:
        """Held-out metrics of the base."""

    @property
    def after(self) -> HeldOutMetrics | None:
        """Held-out metrics of the saved weights."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks for the user."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the software."""


def write_model_card(result: TrainedModel, contract: ScoreContract) -> None:
    """Write the card of a model into its folder.

    Raises:
        MusicError: It could not be written.
    """
    metadata = {
        "base_model": base_model(result.config.base),
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["reward-model", "rlhf", "multi-turn", "music-rm"],
    }
    write_card(result.config.out, metadata, _text(result, contract))


def _text(result: TrainedModel, contract: ScoreContract) -> str:
    base = base_model(result.config.base) or Path(result.config.base).name
    training = "\n".join(_training(result)).replace(result.config.base, base)
    return f"""# A reward model for conversations

It gives a conversation one number; higher is better. It was trained from `{base}` on pairs of conversations.

{result.description}

## Score contract

Scores depend on more than weights. `score_contract.json` is enforced when music-rm loads the model; other software has
to keep to it.

| | |
|---|---|
| readout | `{contract.readout}`: the score of a conversation is {_READOUTS[contract.readout]} |
| reward token | id {contract.reward_token_id}, read at `{contract.read_at}` |
| chat template | `chat_template.jinja`, SHA-256 `{contract.chat_template_sha256[:16]}` |
| longest conversation | {contract.max_length:,} tokens; longer ones lose their oldest turns |
| activation | {contract.activation} |

## Training

{training}

## Figures

{_figures(result)}

## Score with it

```
music score DIR_OR_REPO_ID conversations.jsonl
```

```python
from music import Conversation
from music.reward import RewardModel

model = RewardModel.from_pretrained("DIR_OR_REPO_ID")
model.score([Conversation().user("Hi!").assistant("Hello.")])
```

`music serve DIR_OR_REPO_ID` serves it to RL libraries. The weights are those of an
`AutoModelForSequenceClassification` with one label.
"""


def _training(result: TrainedModel) -> Iterator[str]:
    """Yield pairs, settings and versions, one in a line."""
    config, objective = result.config, result.config.objective
    yield f"- pairs: {result.pairs}"
    yield from (f"- source {source}" for source in result.sources if len(result.sources) > 1)
    if config.freeze == "backbone":
        yield "- trained: the head alone, in closed form"
    else:
        adapters = f", LoRA adapters of rank {config.lora_rank}, merged" if config.lora_rank else ""
        length = f"steps: {config.max_steps}" if config.max_steps else f"epochs: {config.num_epochs}"
        steps = f"{length}, pairs in a batch: {config.batch_size}, peak rate {config.learning_rate:g}"
        yield f"- trained: {steps}{adapters}"
    losses = objective.model_dump(exclude_defaults=True, exclude={"readout"})
    yield f"- loss: Bradley-Terry{''.join(f', {name} {value}' for name, value in losses.items())}; seed {config.seed}"
    yield f"- versions: {', '.join(f'{name} {version}' for name, version in result.versions.items())}"
    yield from (f"- note: {note}" for note in result.notes)


def _figures(result: TrainedModel) -> str:
    """Return a table of the held-out figures before and after training."""
    rows = {"the base": result.before, "this model": result.after}
    found = {name: metrics for name, metrics in rows.items() if metrics is not None}
    if not found:
        return "No pairs were held out. `music evaluate preferences held_out.jsonl --model DIR` measures it."
    lines = [f"| {name} | {each.accuracy:.3f} | {each.nll:.4f} | {each.num_pairs:,} |" for name, each in found.items()]
    head = "| | accuracy | NLL | held-out pairs |\n|---|---|---|---|\n"
    return head + "\n".join(lines) + "\n\nAccuracy is the share of held-out pairs whose chosen side scores higher."
