"""Backbones that transformers has no classifier for, text models of multimodal ones, and models that are not causal."""

import json
import pickle

import pytest
import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ForSequenceClassification,
)
from transformers.modeling_layers import GenericForSequenceClassification

from music.errors import InvalidInputError
from music.reward import RewardModel
from music.reward.loading import load_checkpoint

TOLERANCE = 1e-5
SIZES = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 5,
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
BACKBONES = {
    "apertus": {},
    "cohere": {},
    "cohere2": {"sliding_window": 24},
    "ernie4_5": {},
    "gemma4_text": {
        "head_dim": 8,
        "global_head_dim": 16,
        "sliding_window": 24,
        "vocab_size_per_layer_input": 400,
        "hidden_size_per_layer_input": 8,
    },
    "glm4_moe": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "first_k_dense_replace": 1,
        "head_dim": 8,
    },
    "granite": {},
    "granitemoe": EXPERTS,
    "minimax_m2": {**EXPERTS, "head_dim": 8},
}


@pytest.fixture
def conversations(make_conversation):
    return [make_conversation(seed, num_turns=1 + seed % 3) for seed in range(4)]


@pytest.fixture(params=sorted(BACKBONES))
def language_model(request, make_tokenizer, tmp_path):
    """Save a language model whose architecture has no classifier in transformers."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(request.param, **SIZES | BACKBONES[request.param]))
    model.save_pretrained(tmp_path / "lm")
    make_tokenizer().save_pretrained(tmp_path / "lm")
    return model.eval()


def test_a_head_is_put_on_in_the_vanilla_layout(language_model, conversations, vanilla_rewards, tmp_path):
    with pytest.raises(ValueError, match="Unrecognized configuration class"):
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "lm")
    loaded = load_checkpoint(tmp_path / "lm", dtype=torch.float32, head_seed=0)
    head = torch.nn.init.normal_(loaded.classifier.score.weight.data, std=0.5)
    model = RewardModel(loaded.classifier, loaded.tokens, "cpu")

    def by_hand(**inputs):
        return language_model.model(**inputs).last_hidden_state[0, -1] @ head[0]

    expected = vanilla_rewards(by_hand, loaded.tokens.tokenizer, conversations)
    assert model.score(conversations) == pytest.approx(expected, abs=TOLERANCE)
    assert pickle.loads(pickle.dumps(model)).score(conversations) == pytest.approx(expected, abs=TOLERANCE)
    model.save_pretrained(tmp_path / "rm")
    assert RewardModel.from_pretrained(tmp_path / "rm", device="cpu").score(conversations) == pytest.approx(
        expected, abs=TOLERANCE
    )
    assert vanilla_rewards(by_the_recipe(tmp_path / "rm"), loaded.tokens.tokenizer, conversations) == pytest.approx(
        expected, abs=TOLERANCE
    )


def by_the_recipe(path):
    """Load such a model in transformers alone, as docs/reward-models.md shows."""
    config = AutoConfig.from_pretrained(path)
    name = config.architectures[0]
    family = name.removesuffix("ForSequenceClassification").removesuffix("Text")
    pretrained = getattr(transformers, f"{family}PreTrainedModel")
    classifier = type(name, (GenericForSequenceClassification, pretrained), {"config_class": type(config)})
    return classifier.from_pretrained(path, config=config).eval()


@pytest.fixture
def multimodal_config():
    text = {**SIZES, "head_dim": 8, "sliding_window": 24, "query_pre_attn_scalar": 8}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes = {"image_size": 28, "patch_size": 14}
    tokens = {"image_token_index": 399, "boi_token_index": 398, "eoi_token_index": 397, "pad_token_id": 0}
    return Gemma3Config(text_config=text, vision_config=vision | sizes, mm_tokens_per_image=4, num_labels=1, **tokens)


def test_a_multimodal_reward_model_scores_text_as_the_whole_model_does(
    multimodal_config, make_tokenizer, conversations, vanilla_rewards, tmp_path
):
    torch.manual_seed(0)
    whole = Gemma3ForSequenceClassification(multimodal_config).eval()
    torch.nn.init.normal_(whole.score.weight, std=0.5)
    whole.save_pretrained(tmp_path / "whole")
    make_tokenizer().save_pretrained(tmp_path / "whole")
    model = RewardModel.from_pretrained(tmp_path / "whole", device="cpu")
    expected = vanilla_rewards(whole, make_tokenizer(), conversations)
    assert model.score(conversations) == pytest.approx(expected, abs=TOLERANCE)
    model.save_pretrained(tmp_path / "text")
    text = AutoModelForSequenceClassification.from_pretrained(tmp_path / "text")
    assert type(text).__name__ == "Gemma3TextForSequenceClassification"
    assert vanilla_rewards(text, make_tokenizer(), conversations) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("layout", ["language_model.model.", "model.language_model."])
def test_of_a_multimodal_base_only_the_text_model_is_taken(
    multimodal_config, make_tokenizer, edit_checkpoint, layout, tmp_path
):
    torch.manual_seed(0)
    whole = Gemma3ForConditionalGeneration(multimodal_config)
    whole.save_pretrained(tmp_path / "whole")
    make_tokenizer().save_pretrained(tmp_path / "whole")

    def relaid(weights):
        stored = [name for name in weights if "language_model." in name]
        prefix = stored[0].partition("layers.")[0].partition("embed_tokens.")[0].partition("norm.")[0]
        return {name.replace(prefix, layout): weight for name, weight in weights.items()}

    loaded = load_checkpoint(edit_checkpoint(tmp_path / "whole", relaid), dtype=torch.float32, head_seed=0)
    assert loaded.new_head
    assert not [name for name, _ in loaded.classifier.named_parameters() if "vision" in name]
    theirs = whole.model.language_model.state_dict()
    own = loaded.classifier.model.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)


@pytest.mark.parametrize(
    ("kind", "sizes", "prefix"),
    [("gpt_neox", {"intermediate_size": 64}, "gpt_neox."), ("gpt2", {}, "transformer.")],
)
def test_the_head_of_a_language_model_is_left_out_whatever_its_name(
    make_tokenizer, edit_checkpoint, tmp_path, kind, sizes, prefix
):
    sizes |= {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
    AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes)).save_pretrained(tmp_path / "lm")
    make_tokenizer().save_pretrained(tmp_path / "lm")

    def as_long_ago(weights):  # with causal masks, and the backbone without its prefix
        masks = {f"{prefix}h.{layer}.attn.bias": torch.ones(8, 8) for layer in range(2) if kind == "gpt2"}
        return {name.removeprefix(prefix): weight for name, weight in (weights | masks).items()}

    for path in (tmp_path / "lm", edit_checkpoint(tmp_path / "lm", as_long_ago)):
        assert load_checkpoint(path, dtype=torch.float32, head_seed=0).new_head


@pytest.mark.parametrize(
    ("kind", "words"), [("bert", "a `score` head on its last token"), ("t5", "an encoder with a decoder")]
)
def test_models_that_are_not_causal_are_refused(make_tokenizer, tmp_path, kind, words):
    sizes = {"vocab_size": 400, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_labels": 1}
    config = AutoConfig.for_model(kind, **sizes, intermediate_size=32)
    if kind == "t5":
        config = AutoConfig.for_model(
            kind, vocab_size=400, d_model=32, d_ff=32, num_layers=1, num_heads=2, num_labels=1
        )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(InvalidInputError, match=words):
        load_checkpoint(tmp_path, dtype=torch.float32, head_seed=0)


def test_a_saved_text_model_keeps_no_trace_of_the_others(multimodal_config, make_tokenizer, tmp_path):
    Gemma3ForSequenceClassification(multimodal_config).save_pretrained(tmp_path / "whole")
    make_tokenizer().save_pretrained(tmp_path / "whole")
    RewardModel.from_pretrained(tmp_path / "whole", device="cpu").save_pretrained(tmp_path / "text")
    config = json.loads((tmp_path / "text" / "config.json").read_text())
    assert config["model_type"] == "gemma3_text"
    assert config["architectures"] == ["Gemma3TextForSequenceClassification"]
    assert "vision_config" not in config
