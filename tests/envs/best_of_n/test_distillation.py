"""Best-of-N's choices as training sets: what is written is what was chosen, and TRL's trainers take a step on it."""

import asyncio
import json

import pytest

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.llm import load_model
from music.preferences import read_preferences
from music.sandbox.artifacts import BACKBONE
from music_envs import (
    BestOfNConfig,
    BestOfNEvaluationConfig,
    Decision,
    Rollout,
    Whole,
    evaluate_best_of_n,
    load_prompts,
    run_best_of_n,
    write_distillation,
)
from music_envs.best_of_n.strategies import Greedy

HISTORY = Conversation().user("Which tea?")
SIZES = BestOfNConfig(num_candidates=3, num_turns=2)


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def choice(*scored):
    """Return a choice among replies, given with their scores."""
    replies, scores = zip(*scored, strict=True)
    return Decision(tuple(HISTORY.assistant(reply) for reply in replies), scores, scores.index(max(scores)))


def rollout(*decisions, index=0):
    return Rollout(index=index, conversation=decisions[-1].conversation, decisions=decisions).finished()


def test_a_pair_is_the_best_and_the_worst_candidate_after_what_they_share(tmp_path):
    sets = write_distillation(tmp_path / "sets", [rollout(choice(("Green.", 0.5), ("Black.", 2.0), ("None.", -1.0)))])
    assert rows(sets.sft) == [{"messages": HISTORY.assistant("Black.").to_messages()}]
    assert rows(sets.dpo) == [
        {
            "prompt": [{"role": "user", "content": "Which tea?"}],
            "chosen": [{"role": "assistant", "content": "Black."}],
            "rejected": [{"role": "assistant", "content": "None."}],
            "score_chosen": 2.0,
            "score_rejected": -1.0,
        }
    ]


CLOSE = [
    choice(("a", 1.0), ("b", 0.5)),
    choice(("a", 1.0), ("b", 1.0)),
    choice(("a", 1.0), ("a", 0.0)),
    choice(("a", 1.0)),
]


@pytest.mark.parametrize(("min_margin", "num"), [(0.0, 1), (0.5, 1), (0.6, 0)])
def test_choices_that_are_close_or_none_give_no_pair_and_are_counted(tmp_path, min_margin, num):
    sets = write_distillation(tmp_path, [rollout(each) for each in CLOSE], min_margin=min_margin)
    assert (sets.num_pairs, sets.num_close, len(rows(sets.dpo))) == (num, 4 - num, num)
    assert sets.num_conversations == len(rows(sets.sft)) == 4


def test_failed_conversations_are_left_out(tmp_path):
    failed = rollout(choice(("a", 1.0), ("b", 0.0)), index=1).failed("down")
    sets = write_distillation(tmp_path, [rollout(choice(("a", 1.0), ("b", 0.0))), failed])
    assert str(sets) == "1 conversations and 1 pairs (left out: 1 failed conversations, 0 choices with a small margin)"
    with pytest.raises(InvalidInputError, match="got 1 that failed"):
        write_distillation(tmp_path, [failed])
    with pytest.raises(InvalidInputError, match=r"min_margin of at least 0, got -1"):
        write_distillation(tmp_path, [failed], min_margin=-1)


@pytest.fixture(scope="module", params=[Greedy(), Whole()], ids=["greedy", "whole"])
def sets(request, tmp_path_factory):
    """Write what was chosen in the sandbox."""
    run = run_best_of_n(
        load_prompts("sandbox", 6),
        assistant=load_model("sandbox:fair"),
        user=load_model("sandbox"),
        reward=lambda cs: [float(sum(len(m.content) for m in c.messages)) for c in cs],
        config=SIZES,
        strategy=request.param,
    )
    return write_distillation(tmp_path_factory.mktemp("sets"), asyncio.run(run))


def test_trainers_of_trl_take_a_step_on_both(sets, tmp_path):
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    small = {"output_dir": str(tmp_path), "max_steps": 1, "per_device_train_batch_size": 2, "report_to": "none"}
    small |= {"save_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    for path, trainer, config in ((sets.sft, SFTTrainer, SFTConfig), (sets.dpo, DPOTrainer, DPOConfig)):
        data = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path))
        model = AutoModelForCausalLM.from_pretrained(BACKBONE)
        tokenizer = AutoTokenizer.from_pretrained(BACKBONE)
        done = trainer(model, args=config(**small), train_dataset=data, processing_class=tokenizer).train()
        assert done.global_step == 1
        assert done.training_loss > 0


def test_the_pairs_are_preferences_for_music_train(sets):
    pairs = read_preferences(str(sets.dpo)).pairs
    assert len(pairs) == sets.num_pairs
    (first, *_), (row, *_) = pairs, rows(sets.dpo)
    assert first.chosen.to_messages() == row["prompt"] + row["chosen"]
    assert first.rejected.to_messages() == row["prompt"] + row["rejected"]


async def test_the_command_writes_both_beside_its_rollouts(tmp_path):
    notes = []
    config = BestOfNEvaluationConfig(
        reward="length", num_conversations=2, sizes=SIZES, out=tmp_path, distil=True, distil_margin=1.0
    )
    evaluation = await evaluate_best_of_n(config, note=notes.append)
    assert evaluation.files["sft"] == str(tmp_path / "sft.jsonl")
    assert all(row["score_chosen"] - row["score_rejected"] >= 1 for row in rows(tmp_path / "dpo.jsonl"))
    assert any(text.startswith("distilled: 2 conversations and ") for text in notes)
    for change, said in (({"out": None}, "expected --out too"), ({"distil": False}, "expected --distil too")):
        with pytest.raises(InvalidInputError, match=said):
            await evaluate_best_of_n(
                config.model_copy(update=change | ({"distil_margin": None} if "out" in change else {}))
            )
