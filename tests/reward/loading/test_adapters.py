"""PEFT adapters: merged in fp32 into the base that they name, or refused with a reason."""

import json
import shutil
import sys

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from peft import PeftModelForSequenceClassification as PeftClassifier
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
)
from trl import RewardConfig, RewardTrainer

from music.errors import InvalidInputError
from music.reward import RewardModel
from music.reward.loading import load_checkpoint

TOLERANCE = 1e-5


@pytest.fixture
def conversations(make_conversation):
    return [make_conversation(seed, num_turns=1 + seed % 3) for seed in range(4)]


@pytest.fixture(scope="module")
def base(language_checkpoint):
    return language_checkpoint()


def lora(task_type, **more):
    return LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", task_type=task_type, **more)


@pytest.fixture
def adapter(base, tmp_path):
    """Save adapters and a head for a sequence classifier over the base; return them as peft has them, too."""
    torch.manual_seed(1)
    classifier = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    adapted = get_peft_model(classifier, lora("SEQ_CLS", init_lora_weights=False))
    torch.nn.init.normal_(classifier.score.modules_to_save["default"].weight, std=0.5)
    adapted.save_pretrained(tmp_path / "adapter")
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", adapted.eval()


def test_trls_own_output_with_peft_scores_as_the_model_it_trained(
    base, make_conversation, conversations, vanilla_rewards, tmp_path
):
    rows = [
        {"chosen": make_conversation(i).to_messages(), "rejected": make_conversation(i + 50).to_messages()}
        for i in range(4)
    ]
    settings = RewardConfig(
        output_dir=str(tmp_path / "trl"), max_steps=2, learning_rate=0.1, use_cpu=True, bf16=False, report_to="none"
    )
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    trainer = RewardTrainer(
        model, settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora("SEQ_CLS")
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "trl"))
    assert not (tmp_path / "trl" / "config.json").exists()
    expected = vanilla_rewards(trainer.model.eval(), tokenizer, conversations)
    scores = RewardModel.from_pretrained(tmp_path / "trl", device="cpu").score(conversations)
    assert scores == pytest.approx(expected, abs=TOLERANCE)


def test_trls_own_output_without_peft_scores_as_the_model_it_trained(
    base, make_conversation, conversations, vanilla_rewards, tmp_path
):
    rows = [
        {"chosen": make_conversation(i).to_messages(), "rejected": make_conversation(i + 50).to_messages()}
        for i in range(4)
    ]
    settings = RewardConfig(
        output_dir=str(tmp_path / "trl"), max_steps=2, learning_rate=0.1, use_cpu=True, bf16=False, report_to="none"
    )
    trainer = RewardTrainer(str(base), settings, train_dataset=Dataset.from_list(rows))
    trainer.train()
    trainer.save_model(str(tmp_path / "trl"))
    expected = vanilla_rewards(trainer.model.eval(), AutoTokenizer.from_pretrained(base), conversations)
    scores = RewardModel.from_pretrained(tmp_path / "trl", device="cpu").score(conversations)
    assert scores == pytest.approx(expected, abs=TOLERANCE)


def test_adapters_and_head_are_merged(adapter, base, conversations, vanilla_rewards, tmp_path):
    path, adapted = adapter
    expected = vanilla_rewards(adapted, AutoTokenizer.from_pretrained(base), conversations)
    model = RewardModel.from_pretrained(path, device="cpu")
    assert model.score(conversations) == pytest.approx(expected, abs=TOLERANCE)
    model.save_pretrained(tmp_path / "merged")
    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    assert vanilla_rewards(merged, AutoTokenizer.from_pretrained(base), conversations) == pytest.approx(
        expected, abs=TOLERANCE
    )


def test_adapters_beside_a_whole_model_belong_to_it(adapter, base, conversations, vanilla_rewards):
    path, adapted = adapter
    expected = vanilla_rewards(adapted, AutoTokenizer.from_pretrained(base), conversations)
    for file in ("config.json", "model.safetensors"):
        shutil.copy(base / file, path / file)
    edit(path, base_model_name_or_path="/no/such/folder")
    assert RewardModel.from_pretrained(path, device="cpu").score(conversations) == pytest.approx(
        expected, abs=TOLERANCE
    )


def test_a_merged_model_can_be_trained_in_full(adapter):
    classifier = load_checkpoint(adapter[0], dtype=torch.float32).classifier
    assert [name for name, weight in classifier.named_parameters() if not weight.requires_grad] == []


def test_adapters_load_without_warnings_of_the_libraries(adapter, recwarn):
    load_checkpoint(adapter[0], dtype=torch.float32)
    assert [each.message for each in recwarn if issubclass(each.category, FutureWarning)] == []


def test_adapters_without_a_tokenizer_take_their_bases(adapter, conversations):
    path, _ = adapter
    expected = RewardModel.from_pretrained(path, device="cpu").score(conversations)
    for file in path.glob("*token*"):
        file.unlink()
    assert RewardModel.from_pretrained(path, device="cpu").score(conversations) == expected


def test_adapters_smaller_than_a_step_of_bf16_are_merged_in_fp32(base, tmp_path):
    bf16 = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    bf16.save_pretrained(tmp_path / "base")
    torch.manual_seed(1)
    settings = LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    adapted = get_peft_model(bf16.float(), settings)
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_" in name:
                weight.mul_(0.01)
    adapted.save_pretrained(tmp_path / "adapter")
    edit(tmp_path / "adapter", base_model_name_or_path=str(tmp_path / "base"))
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "adapter")
    name = "model.layers.0.self_attn.q_proj.weight"
    merged = load_checkpoint(tmp_path / "adapter", dtype=torch.float32, head_seed=0).classifier.state_dict()[name]
    expected = adapted.merge_and_unload().state_dict()[name]
    assert torch.allclose(merged, expected, atol=1e-7)
    assert (merged - merged.bfloat16().float()).abs().max() > 0


def test_adapters_of_a_language_model_become_a_base_with_a_new_head(base, tmp_path):
    torch.manual_seed(1)
    settings = lora("CAUSAL_LM", init_lora_weights=False, modules_to_save=["lm_head"])
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
    adapted.save_pretrained(tmp_path)
    loaded = load_checkpoint(tmp_path, dtype=torch.float32, head_seed=0)
    assert loaded.new_head
    merged, own = adapted.merge_and_unload().model.state_dict(), loaded.classifier.model.state_dict()
    assert all(torch.allclose(own[name], merged[name], atol=1e-6) for name in merged)
    with pytest.raises(InvalidInputError, match=r"lacks score\.weight"):
        load_checkpoint(tmp_path, dtype=torch.float32)


def test_an_embedding_that_grew_is_taken_from_the_adapters(base, tmp_path):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base), AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<new>"])
    model.resize_token_embeddings(len(tokenizer))
    settings = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"], task_type="CAUSAL_LM")
    adapted = get_peft_model(model, settings)
    adapted.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = load_checkpoint(tmp_path, dtype=torch.float32, head_seed=0)
    assert loaded.classifier.config.vocab_size == len(tokenizer)
    assert torch.equal(
        loaded.classifier.get_input_embeddings().weight,
        model.get_input_embeddings().modules_to_save["default"].weight,
    )


def test_of_adapters_over_a_multimodal_model_those_of_its_text_model_are_merged(make_tokenizer, tmp_path):
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"image_token_index": 399, "boi_token_index": 398, "eoi_token_index": 397, "pad_token_id": 0}
    config = Gemma3Config(
        text_config=text | {"vocab_size": 400, "num_key_value_heads": 2},
        vision_config=vision | {"image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        **tokens,
    )
    torch.manual_seed(0)
    Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    whole = Gemma3ForConditionalGeneration.from_pretrained(tmp_path / "base")
    adapted = get_peft_model(whole, lora("CAUSAL_LM", init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load_checkpoint(tmp_path / "adapter", dtype=torch.float32, head_seed=0)
    merged = adapted.merge_and_unload().model.language_model.state_dict()
    own = loaded.classifier.model.state_dict()
    assert own.keys() == merged.keys()
    assert all(torch.allclose(own[name], merged[name], atol=1e-6) for name in own)


def edit(path, **settings):
    file = path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def refusal(path):
    with pytest.raises(InvalidInputError) as error:
        load_checkpoint(path, dtype=torch.float32, head_seed=0)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_base_is_named_with_the_remedy(adapter):
    path, _ = adapter
    edit(path, base_model_name_or_path="/no/such/folder")
    assert "it is an adapter for /no/such/folder" in refusal(path)
    edit(path, base_model_name_or_path=None)
    assert "names its base" in refusal(path)


def test_an_adapter_over_an_adapter_is_refused(adapter):
    path, _ = adapter
    edit(path, base_model_name_or_path=str(path))
    assert "itself an adapter" in refusal(path)


def test_adapters_for_another_model_are_refused(adapter, reward_checkpoint):
    path, _ = adapter
    weights = load_file(path / "adapter_model.safetensors")
    lost = next(name for name in weights if "lora_A" in name)
    save_file({n: w for n, w in weights.items() if n != lost}, path / "adapter_model.safetensors")
    assert "missing" in refusal(path)
    stray = {"base_model.model.model.layers.7.mlp.up_proj.lora_A.weight": torch.ones(4, 32)}
    save_file(weights | stray, path / "adapter_model.safetensors")
    assert "layers.7" in refusal(path)
    save_file(weights | {lost: torch.ones(4, 5)}, path / "adapter_model.safetensors")
    assert "do not fit" in refusal(path)


def test_pickled_adapters_are_not_read(adapter):
    path, _ = adapter
    (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")
    assert "pickled adapters are not read" in refusal(path)


def test_damaged_adapters_are_named(adapter):
    path, _ = adapter
    (path / "adapter_model.safetensors").write_bytes(b"\x08\x00")
    assert "adapter_model.safetensors is damaged" in refusal(path)
    (path / "adapter_config.json").write_text("{")
    assert "adapter_config.json" in refusal(path)


def test_prompts_that_were_learnt_cannot_be_merged(base, tmp_path):
    classifier = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    PeftClassifier(classifier, PromptTuningConfig(num_virtual_tokens=2, task_type="SEQ_CLS")).save_pretrained(tmp_path)
    assert "PROMPT_TUNING" in refusal(tmp_path)


def test_without_peft_the_remedy_is_named(adapter, monkeypatch):
    path, _ = adapter
    monkeypatch.setitem(sys.modules, "peft", None)
    assert "pip install 'music-rm[peft]'" in refusal(path)
