"""Chat templates of well-known models: scores are what vanilla transformers reads of one sequence."""

from importlib.resources import files

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaConfig

from music.conversation import Conversation, Message
from music.reward import ContractError, RewardModel
from music.reward.tokens.contract import Unscorable
from tests.reward.tokens.published_templates import MISTRAL, VICUNA, ZEPHYR

TOLERANCE = 1e-5
LLAMA = ("<|begin_of_text|>", "<|eot_id|>", ("<|start_header_id|>", "<|end_header_id|>", "<|end_of_text|>"))
GEMMA = ("<bos>", "<eos>", ("<start_of_turn>", "<end_of_turn>"))
QWEN = (None, "<|im_end|>", ("<|im_start|>",))
SENTENCE = ("<s>", "</s>", ())
# Template, tokens, pad token as published (TRL leaves Llama's at the end of turn), where the reward is, exact by turn.
MODELS = {
    "llama3": ("llama3", LLAMA, "<|eot_id|>", "last_non_pad", True),
    "llama3_1": ("llama3_1", LLAMA, "<|finetune_right_pad_id|>", "last", True),
    "llama3_2": ("llama3_2", LLAMA, "<|eot_id|>", "last_non_pad", True),
    "gemma2": ("gemma", GEMMA, "<pad>", "last", True),
    "gemma3": ("gemma3", GEMMA, "<pad>", "last", True),
    "qwen2_5": ("qwen2_5", QWEN, "<|endoftext|>", "last", True),
    "qwen3": ("qwen3", QWEN, "<|endoftext|>", "last", False),
    "phi3": ("phi3", ("<s>", "<|endoftext|>", ("<|end|>",)), "<|endoftext|>", "last_non_pad", True),
    "deepseek_r1": (
        "deepseek_r1_distill",
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", ("<｜User｜>", "<｜Assistant｜>")),
        "<｜end▁of▁sentence｜>",
        "last_non_pad",
        True,
    ),
    "mistral": (MISTRAL, SENTENCE, "<unk>", "last", True),
    "zephyr": (ZEPHYR, SENTENCE, "</s>", "last", True),
    "vicuna": (VICUNA, SENTENCE, "<unk>", "last", True),
}
NO_SYSTEM = {"gemma2", "mistral"}
THINKING = "<think>\nWarm or cold?\n</think>\n\nWarm."
CONVERSATIONS = [
    Conversation().user("Name a fruit.").assistant("An apple."),
    Conversation().user(" \nIs it good?\n").assistant("  Yes.\n\n").user("And a pear?\n").assistant("\nNo. "),
    Conversation().user("The plan?").assistant(THINKING).user("And?").assistant(THINKING),
    Conversation(messages=(Message(role="system", content="Answer in short."),))
    .user("What is the weather?")
    .assistant("Bad.")
    .user("Why?")
    .assistant("Rain."),
]


@pytest.fixture(scope="module", params=MODELS)
def published(request, make_tokenizer, tmp_path_factory):
    """A reward model as its trainer leaves it: no contract, and the pad token that its tokenizer has."""
    source, (bos, eos, special), pad, read_at, by_turn = MODELS[request.param]
    is_text = "{" in source
    template = source if is_text else (files("trl") / "chat_templates" / f"{source}.jinja").read_text(encoding="utf-8")
    tokenizer = make_tokenizer(template, pad_token=None)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.add_special_tokens({"eos_token": eos, "pad_token": pad} | ({"bos_token": bos} if bos else {}))
    if bos is None:
        tokenizer.bos_token = None
    path = tmp_path_factory.mktemp(request.param)
    save_classifier(path, tokenizer)
    return request.param, path, read_at, by_turn


def save_classifier(path, tokenizer, **settings):
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(tokenizer), num_labels=1, pad_token_id=tokenizer.pad_token_id, **shape)
    config.update(settings)
    classifier = AutoModelForSequenceClassification.from_config(config)
    torch.nn.init.normal_(classifier.score.weight, std=0.5)
    classifier.save_pretrained(path)
    tokenizer.save_pretrained(path)


def vanilla(path, conversations):
    """Score one unpadded sequence at a time."""
    classifier, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(path),
        AutoTokenizer.from_pretrained(path),
    )
    rendered = [tokenizer.apply_chat_template(c.to_messages(), return_dict=True) for c in conversations]
    with torch.no_grad():
        return [classifier(torch.tensor([each["input_ids"]])).logits.item() for each in rendered]


def test_scores_are_those_of_vanilla_transformers(published, set_clock, tmp_path):
    name, path, read_at, _ = published
    set_clock(2024, 7, 26, 12)
    model = RewardModel.from_pretrained(path, device="cpu")
    assert model.contract.read_at == read_at
    scored = model.score_each(CONVERSATIONS)
    refused = [Unscorable.TEMPLATE_REFUSED] if name in NO_SYSTEM else []
    assert [each.problem for each in scored if each.problem] == refused
    usable = [c for c, each in zip(CONVERSATIONS, scored, strict=True) if not each.problem]
    scores = [each.score for each in scored if not each.problem]
    assert scores == pytest.approx(vanilla(path, usable), abs=TOLERANCE)
    assert len({round(score, 3) for score in scores}) == len(scores)
    model.save_pretrained(tmp_path)
    assert scores == pytest.approx(vanilla(tmp_path, usable), abs=TOLERANCE)
    assert RewardModel.from_pretrained(tmp_path, device="cpu").score(usable) == pytest.approx(scores, abs=TOLERANCE)


def test_rewards_by_turn_are_those_of_cut_conversations_or_refused(published, set_clock):
    name, path, _, by_turn = published
    set_clock(2024, 7, 26, 12)
    model = RewardModel.from_pretrained(path, device="cpu")
    usable = CONVERSATIONS[: -1 if name in NO_SYSTEM else None]
    if not by_turn:
        with pytest.raises(ContractError, match="score whole conversations with the readout `last`"):
            model.score_turns(usable)
        return
    for conversation, turns in zip(usable, model.score_turns(usable), strict=True):
        cut = [conversation.prefix(end) for end in conversation.turn_ends]
        assert turns == pytest.approx(vanilla(path, cut), abs=TOLERANCE)
