import json
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from music.conversation import Conversation
from music.reward.packing import TokenSequence

WORDS = ("apple", "pear", "plan", "walk", "city", "cold", "warm", "short", "sentence", "answer", "one", "two", "three")


@pytest.fixture
def make_conversation() -> Callable[..., Conversation]:
    """Return a maker of conversations of random words, the same for the same seed."""

    def make(seed: int, num_turns: int = 3, num_words: int = 8, system: bool = False) -> Conversation:
        rng = random.Random(seed)
        messages = [{"role": "system", "content": "Be short."}] if system else []
        for _ in range(num_turns):
            messages.append({"role": "user", "content": " ".join(rng.choices(WORDS, k=rng.randint(1, num_words)))})
            messages.append({"role": "assistant", "content": " ".join(rng.choices(WORDS, k=rng.randint(1, num_words)))})
        return Conversation.from_messages(messages)

    return make


@pytest.fixture
def edit_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Return a maker of copies of checkpoints, with other weights or another configuration."""

    def edit(
        source: Path, weights: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None, **config: Any
    ) -> Path:
        path = tmp_path / f"edited-{len(list(tmp_path.glob('edited-*')))}"
        shutil.copytree(source, path)
        if weights is not None:
            tensors = load_file(path / "model.safetensors")
            edited = {name: tensor.clone() for name, tensor in weights(tensors).items()}
            save_file(edited, path / "model.safetensors", metadata={"format": "pt"})
        settings = json.loads((path / "config.json").read_text()) | config
        (path / "config.json").write_text(json.dumps(settings))
        return path

    return edit


@pytest.fixture
def vanilla_rewards() -> Callable[..., list[float]]:
    """Return a scorer with plain forwards of a model, one conversation each, as its own software would score."""

    def rewards(model: Any, tokenizer: Any, conversations: Sequence[Conversation]) -> list[float]:
        with torch.no_grad():
            outputs = [
                model(**tokenizer.apply_chat_template(c.to_messages(), return_dict=True, return_tensors="pt"))
                for c in conversations
            ]
        return [float(getattr(output, "logits", output)) for output in outputs]

    return rewards


_SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "num_labels": 1,
    "pad_token_id": 0,
}
# Windows are shorter than the sequences of `make_groups`, and the softcap is tight.
_FAMILIES: dict[str, dict[str, Any]] = {
    "gemma2": {"sliding_window": 24, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 16},
    "qwen3": {},
    "qwen3_windowed": {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1},
    "qwen2": {"head_dim": 8},
    "llama": {},
}


@pytest.fixture(params=sorted(_FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    """Run a test for each family of models."""
    return str(request.param)


@pytest.fixture
def make_classifier() -> Callable[..., PreTrainedModel]:
    """Return a maker of small random classifiers in fp32, whose rewards are of the order of 1."""

    def make(family: str, **changes: Any) -> PreTrainedModel:
        torch.manual_seed(0)
        config = AutoConfig.for_model(family.removesuffix("_windowed"), **_SIZES | _FAMILIES.get(family, {}) | changes)
        classifier = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
        with torch.no_grad():
            for weights in classifier.parameters():
                weights.mul_(4 if weights.ndim > 1 else 1)
        return classifier

    return make


@pytest.fixture
def make_groups() -> Callable[..., list[list[TokenSequence]]]:
    """Return a maker of groups of 2 to 4 random sequences that begin alike, read at three places each."""

    def make(seed: int, num_groups: int = 4) -> list[list[TokenSequence]]:
        rng = random.Random(seed)
        return [_group(rng, rng.randint(2, 4)) for _ in range(num_groups)]

    return make


def _group(rng: random.Random, num_sequences: int) -> list[TokenSequence]:
    prefix = rng.choices(range(1, 97), k=rng.randint(30, 60))
    branch = rng.choices(range(1, 97), k=20)
    starts = [prefix, prefix[:-5], prefix + branch, prefix + branch]
    sequences = [start + rng.choices(range(1, 97), k=rng.randint(1, 40)) for start in starts[:num_sequences]]
    return [TokenSequence(ids, tuple(sorted({*rng.sample(range(len(ids)), 2), len(ids) - 1}))) for ids in sequences]


@pytest.fixture
def plain_rewards() -> Callable[..., list[list[torch.Tensor]]]:
    """Return what gives the rewards by group and sequence from eager forwards of one sequence each."""

    def rewards(classifier: Any, groups: Sequence[Sequence[TokenSequence]]) -> list[list[torch.Tensor]]:
        classifier.set_attn_implementation("eager")
        return [[read(classifier, sequence) for sequence in group] for group in groups]

    def read(classifier: Any, sequence: TokenSequence) -> torch.Tensor:
        output = classifier.base_model(input_ids=torch.tensor([sequence.ids]), use_cache=False)
        hidden = output.last_hidden_state[0, list(sequence.reads)]
        return torch.as_tensor(classifier.score(hidden).squeeze(-1))

    return rewards


@pytest.fixture
def emulated_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install what flash-attn's kernel is documented to do, and in fp32 too, for tests on the CPU."""
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_varlen_func=_reference_varlen))
    monkeypatch.setattr("music.reward.attention.backends.why_no_flash", lambda device: None)
    monkeypatch.setattr("music.reward.attention.varlen.DTYPES", (torch.float32, torch.bfloat16))


def _reference_varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_queries: Tensor,
    cu_keys: Tensor,
    longest_queries: int,
    longest_keys: int,
    *,
    dropout_p: float,
    softmax_scale: float,
    causal: bool,
    window_size: tuple[int, int],
    softcap: float,
    deterministic: bool,
) -> Tensor:
    """Do what flash-attn's function of this name is documented to do: the mask is aligned to the bottom right."""
    assert causal
    assert q.dtype == k.dtype == v.dtype
    assert not (softcap and dropout_p)
    assert cu_queries.dtype == cu_keys.dtype == torch.int32
    outputs = []
    sizes = cu_queries.diff().tolist(), cu_keys.diff().tolist()
    assert (max(sizes[0]), max(sizes[1])) == (longest_queries, longest_keys)
    for qs, ks, vs in zip(q.split(sizes[0]), k.split(sizes[1]), v.split(sizes[1]), strict=True):
        group = qs.shape[1] // ks.shape[1]
        scores = torch.einsum("qhd,khd->hqk", qs, ks.repeat_interleave(group, 1)) * softmax_scale
        if softcap:
            scores = torch.tanh(scores / softcap) * softcap
        behind = torch.arange(len(qs))[:, None] + len(ks) - len(qs) - torch.arange(len(ks))
        seen = (behind >= 0) & (behind <= (window_size[0] if window_size[0] >= 0 else len(ks)))
        weights = torch.dropout(scores.masked_fill(~seen, -torch.inf).softmax(-1), dropout_p, train=True)
        outputs.append(torch.einsum("hqk,khd->qhd", weights, vs.repeat_interleave(group, 1)))
    return torch.cat(outputs)
