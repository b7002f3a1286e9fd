"""Simulated pairs feed TRL's own trainer as they are."""

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

from music.pairs import ContrastivePair, TurnContrast, Usage


def simulated_rows(pairs):
    for pair in pairs:
        yield ContrastivePair(
            id=pair.id,
            source="test",
            chosen=pair.chosen,
            rejected=pair.rejected,
            seed_id=f"seed-{pair.id}",
            num_seed_messages=0,
            contrasts=tuple(
                TurnContrast(turn=turn, strategy="instruction", modified_instruction="Say bad.")
                for turn in range(pair.rejected.num_turns)
            ),
            models={"user": "sandbox", "assistant": "sandbox", "contrast": "sandbox"},
            usage=Usage(num_calls=4, prompt_tokens=10, completion_tokens=20),
            seed=0,
        ).to_row()


def test_trl_trains_on_the_output_table_unchanged(reward_checkpoint, make_pairs, tmp_path):
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist(list(simulated_rows(make_pairs(12)))), path)
    rows = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    base = reward_checkpoint()
    settings = RewardConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=5,
        per_device_train_batch_size=4,
        max_length=512,
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
    )
    trainer = RewardTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(base),
        args=settings,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(base),
    )
    outcome = trainer.train()
    assert outcome.global_step == 5
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 5
    assert all(0 < loss < 10 for loss in losses)
