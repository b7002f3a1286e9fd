"""What a model in this process writes is read as a server's replies are: its special tokens are not dropped unseen."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from music.conversation import Message
from music.llm import ChatRequest, LocalChatModel, ReplyOutcome, Sampling

END, USER, THINK, THOUGHT = "</s>", "<|user|>", "[THINK]", "[/THINK]"
WORDS = ["<s>", END, "<unk>", USER, THINK, THOUGHT, "assistant:", "Hm.", "Put", "the", "kettle", "on."]
TEMPLATE = "{% for m in messages %} {{ m.content }}{% endfor %} assistant:"
ANSWER = "Put the kettle on."


def make_model(path, template):
    """Save and open a model with tokens for turns and for thinking; what it writes is put into its mouth."""
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        eos_token_id=1,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token=END, unk_token="<unk>")
    fast.add_special_tokens({"additional_special_tokens": [USER, THINK, THOUGHT]})
    fast.chat_template = template
    fast.save_pretrained(path)
    return LocalChatModel(str(path))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("plain"), TEMPLATE)


@pytest.fixture(scope="module")
def thinker(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("thinker"), f"{TEMPLATE} {THINK}")


@pytest.fixture
def ask(monkeypatch):
    async def ask(model, written):
        ids = [[WORDS.index(word) for word in written.split()]]
        monkeypatch.setattr("music.llm.local.generate", lambda *_: ids)
        request = ChatRequest(
            messages=(Message(role="user", content="kettle"),), sampling=Sampling(max_tokens=len(ids[0]))
        )
        return await model.complete(request)

    return ask


@pytest.mark.parametrize(
    ("written", "text", "outcome", "thinking", "cleaned"),
    [
        (f"{ANSWER} {END}", ANSWER, ReplyOutcome.COMPLETE, "", ()),
        (ANSWER, ANSWER, ReplyOutcome.LENGTH, "", ()),
        (f"{THINK} Hm. {THOUGHT} {ANSWER} {END}", ANSWER, ReplyOutcome.COMPLETE, "Hm.", ()),
        (f"{THINK} Hm. {END}", "", ReplyOutcome.THOUGHT, "Hm.", ()),
        (f"{THINK} Hm.", "", ReplyOutcome.LENGTH, "Hm.", ()),
        (f"{ANSWER} {USER} {END}", ANSWER, ReplyOutcome.COMPLETE, "", ("end_mark",)),
        (f"{ANSWER} {USER} kettle {END}", f"{ANSWER} < |user|> kettle", ReplyOutcome.COMPLETE, "", ("control_token",)),
        (END, "", ReplyOutcome.EMPTY, "", ()),
    ],
)
async def test_a_local_models_reply(model, ask, written, text, outcome, thinking, cleaned):
    reply = await ask(model, written)
    assert (reply.text, reply.outcome, reply.thinking, reply.cleaned) == (text, outcome, thinking, cleaned)
    assert reply.completion_tokens == len(written.split())


async def test_thinking_that_the_template_opens_is_known_without_its_end(thinker, ask):
    reply = await ask(thinker, f"Hm. {END}")
    assert (reply.text, reply.outcome, reply.thinking) == ("", ReplyOutcome.THOUGHT, "Hm.")
    reply = await ask(thinker, f"Hm. {THOUGHT} {ANSWER} {END}")
    assert (reply.text, reply.outcome, reply.thinking) == (ANSWER, ReplyOutcome.COMPLETE, "Hm.")
