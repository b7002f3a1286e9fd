"""Train a reward model as a library, and score a few replies and turns.

Run it: `python examples/train_reward_model.py`. It needs no key and no GPU: the pairs and the small language model
come with the sandbox. Replace them with your own pairs (`music.preferences.read_preferences`) and your own model.
"""

import tempfile
from pathlib import Path

from music import Conversation
from music.reward import RewardModel
from music.sandbox.artifacts import BACKBONE
from music.sandbox.world.seeds import seed_pairs
from music_trainers import RewardTrainingConfig, TrainingStart, TrainingStep, train_reward_model


def main(out: Path) -> None:
    config = RewardTrainingConfig(
        base=str(BACKBONE),
        out=out,
        learning_rate=3e-4,  # for a model of half a million weights; keep the default for one of billions
        batch_size=16,
        eval_fraction=0.1,
    )
    result = train_reward_model(config, seed_pairs(1000, seed=0), on_start=show_start, on_step=show_step)
    for name, metrics in (("before", result.before), ("after", result.after)):
        if metrics is not None:
            print(f"{name}: accuracy {metrics.accuracy:.3f}, NLL {metrics.nll:.3f} on {metrics.num_pairs} pairs")

    model = RewardModel.from_pretrained(out)
    question = Conversation().user("Tell me about tea.")
    print(model.description)
    print("candidates:", model.score_candidates(question, ["Tea is a drink.", "I like trains."]))
    print("every turn:", model.score_turns([seed_pairs(1, seed=1, single_turn_share=0.0)[0].chosen])[0])


def show_start(start: TrainingStart) -> None:
    print(start.description)
    print("pairs:", start.pairs)


def show_step(step: TrainingStep) -> None:
    if step.step % 10 == 0:
        print(f"step {step.step}/{step.num_steps}: loss {step.loss:.3f}, {step.num_tokens} tokens")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
