import pytest
import trl

from music.conversation import Conversation
from music.errors import InvalidInputError
from music.reward.tokens.contract import UnscorableError
from music.sandbox.artifacts import BACKBONE
from music_envs.adapters.trl import ChatRollout, as_trl_reward, episode_reward
from music_envs.chat.world import ChatWorld

PROMPT = [{"role": "user", "content": "Name a river."}]


def said(text):
    return [{"role": "assistant", "content": text}]


def train(prompts, tmp_path, reward, **arguments):
    """Train for two steps; return the batches that the loss was made from, and what the reward function was given."""
    from datasets import Dataset

    seen, batches = [], []

    def spy(**given):
        seen.append(given | {"rewards": reward(**given)})
        return seen[-1]["rewards"]

    class Watched(trl.GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            batches.append(super()._generate_and_score_completions(inputs))
            return batches[-1]

    trainer = Watched(
        model=str(BACKBONE),
        reward_funcs=spy,
        train_dataset=Dataset.from_list([{"prompt": messages} for messages in prompts]),
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            use_cpu=True,
            bf16=False,
            per_device_train_batch_size=4,
            num_generations=2,
            max_steps=2,
            max_completion_length=24,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        **arguments,
    )
    trainer.train()
    return trainer.processing_class, batches, seen


def test_grpo_scores_whole_conversations_prompt_and_reply(prompts, reward_length, tmp_path):
    _, batches, seen = train(prompts, tmp_path, as_trl_reward(reward_length))
    assert len(batches) == len(seen) == 2
    for given in seen:
        replies = [completion[0]["content"].strip() for completion in given["completions"]]
        assert given["rewards"] == [len(reply) for reply in replies]


@pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")
def test_grpo_trains_on_the_policys_tokens_alone_of_conversations_of_several_turns(prompts, reward_length, tmp_path):
    world = ChatWorld(num_turns=3, reward=reward_length, reward_mode="difference")
    tokenizer, batches, seen = train(prompts, tmp_path, episode_reward, rollout_func=ChatRollout(world))
    for batch, given in zip(batches, seen, strict=True):
        masks = (batch["tool_mask"] * batch["completion_mask"]).bool()
        for row, messages in enumerate(given["conversation"]):
            conversation = Conversation.from_messages(messages)
            shared = len(given["prompts"][row])
            assert given["prompts"][row] == messages[:shared]
            assert conversation.num_turns == 3
            # What is trained on is what the assistant said, and what is masked is what the user said.
            trained = tokenizer.decode(batch["completion_ids"][row][masks[row]], skip_special_tokens=True)
            shown = batch["completion_mask"][row].bool() & ~masks[row]
            masked = tokenizer.decode(batch["completion_ids"][row][shown], skip_special_tokens=True)
            assert trained.split() == " ".join(m["content"] for m in messages[shared::2]).split()
            assert masked.split() == " ".join(m["content"] for m in messages[shared + 1 :: 2]).split()
            assert given["rewards"][row] == sum(given["turn_rewards"][row]) == reward_length([conversation])[0]
        better = [given["rewards"][0] > given["rewards"][1], given["rewards"][2] > given["rewards"][3]]
        advantages = batch["advantages"]
        assert [bool(advantages[0] > advantages[1]), bool(advantages[2] > advantages[3])] == better


def test_a_reply_that_cannot_be_scored_has_no_reward_and_the_others_have_theirs():
    def picky(conversations):
        if any("endless" in c.messages[-1].content for c in conversations):
            raise UnscorableError("too long")
        return [1.0] * len(conversations)

    metrics = {}
    scores = as_trl_reward(picky)(
        prompts=[PROMPT] * 4,
        completions=[said("The Rhine."), said(" \n"), said("An endless one."), said("The Elbe.")],
        log_metric=metrics.__setitem__,
    )
    assert scores == [1.0, None, None, 1.0]
    assert metrics == {"unscorable": 0.5}


@pytest.mark.parametrize(
    ("prompt", "completion", "message"),
    [
        ("Name a river.", "The Rhine.", "messages"),
        (PROMPT, [*said("The Rhine."), *PROMPT], "one assistant message"),
        ([*PROMPT, *said("The Rhine.")], said("The Elbe."), "ends with the user"),
    ],
)
def test_what_is_no_single_reply_to_messages_is_refused(reward_length, prompt, completion, message):
    with pytest.raises(InvalidInputError, match=message):
        as_trl_reward(reward_length)(prompts=[prompt], completions=[completion])


class ScriptedPolicy:
    """Stands in for the trainer: replies with texts, one list for every turn."""

    def __init__(self, tokenizer, *turns):
        self.processing_class, self.turns, self.contexts = tokenizer, list(turns), []
        self.chat_template, self.chat_template_kwargs = None, {}

    def _generate_single_turn(self, prompt_ids, images, fields, num_generations):
        self.contexts.append([self.processing_class.decode(ids) for ids in prompt_ids])
        return [self.processing_class(text)["input_ids"] for text in self.turns.pop(0)], None


def test_a_failed_user_and_a_blank_reply_end_their_conversation_alone_without_a_reward(
    make_tokenizer, scripted, reward_length
):
    world = ChatWorld(num_turns=2, reward=reward_length, user=scripted("user", fails={1}))
    policy = ScriptedPolicy(make_tokenizer(), ["One.<|end|>", "<|end|>", "Two.<|end|>"], ["Three.<|end|>"])
    out = ChatRollout(world)([PROMPT, PROMPT, PROMPT], policy)
    assert out["episode_reward"] == [10.0, None, None]
    assert [len(conversation) for conversation in out["conversation"]] == [4, 1, 2]
    assert all(len(ids) == len(mask) for ids, mask in zip(out["completion_ids"], out["env_mask"], strict=True))


def test_equal_prompts_meet_the_same_user_and_a_reply_that_was_cut_off_is_closed(make_tokenizer, reward_length):
    world = ChatWorld(num_turns=2, reward=reward_length)
    policy = ScriptedPolicy(make_tokenizer(), ["One.<|end|>", "One, but cut"], ["Two.<|end|>"] * 2)
    out = ChatRollout(world)([PROMPT, PROMPT], policy)
    closed, cut = policy.contexts[1]
    assert cut == closed.replace("One.<|end|>", "One, but cut<|end|>")
    assert closed.endswith("<|assistant|>")
    assert [sum(mask) for mask in out["env_mask"]] == [
        len(policy.processing_class(text)["input_ids"])
        for text in ("One.<|end|>Two.<|end|>", "One, but cutTwo.<|end|>")
    ]


@pytest.mark.parametrize("content", [None, "", [], [{"type": "text", "text": " "}]])
def test_a_reply_that_calls_a_tool_and_says_nothing_has_no_score(reward_length, content):
    reply = [{"role": "assistant", "content": content, "tool_calls": [{"type": "function"}]}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "Rhine"}]}]
    scores = as_trl_reward(reward_length)([PROMPT] * 3, [reply, said("Rhine"), parts])
    assert scores[0] is None
    assert scores[1] == scores[2] is not None


def test_prompts_may_hold_tool_messages_and_content_in_parts(reward_length):
    prompt = [
        {"role": "user", "content": [{"type": "text", "text": "Name a river."}]},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "find", "arguments": "{}"}}]},
        {"role": "tool", "content": "Rhine"},
    ]
    assert as_trl_reward(reward_length)([prompt], [said("The Rhine.")]) == as_trl_reward(reward_length)(
        [PROMPT], [said("The Rhine.")]
    )
