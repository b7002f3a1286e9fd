import asyncio

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from music.conversation import Message
from music.errors import InvalidInputError
from music.llm import (
    ChatReply,
    ChatRequest,
    LocalChatModel,
    ReplyOutcome,
    RequestRejectedError,
    Sampling,
    StoppedWaitingError,
    load_model,
)
from music.llm.generation import generate

WORDS = ["<s>", "</s>", "<unk>", "user:", "assistant:", *(f"w{i}" for i in range(27))]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    " {{ m.role }}: {{ m.content }}{% endfor %}{% if add_generation_prompt %} assistant:{% endif %}"
)
CONTEXT = 32


def save(path, template=TEMPLATE):
    """Save a tiny random chat model whose tokenizer adds a BOS of its own."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(path)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = template
    fast.save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    torch.set_num_threads(1)
    return save(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def model(path):
    return LocalChatModel(path)


def ask(content="w1 w2", seed=None, **sampling):
    return ChatRequest(messages=(Message(role="user", content=content),), seed=seed, sampling=Sampling(**sampling))


def test_loading_draws_no_bar(path, capfd):
    load_model(f"local:{path}")
    assert capfd.readouterr().err == ""


async def test_a_local_model_answers_through_open_model(path):
    model = load_model(f"local:{path}")
    reply = await model.complete(ask(temperature=0.0, max_tokens=5))
    assert model.name == reply.model == f"local:{path}"
    assert reply.text


async def test_the_template_opens_the_assistants_turn_and_no_second_bos_is_added(model):
    reply = await model.complete(ask("w1 w2", max_tokens=1))
    assert reply.prompt_tokens == len(["<s>", "user:", "w1", "w2", "assistant:"])
    assert model._prompt(ask("w1 w2")).ids[:2] == [0, WORDS.index("user:")]


async def test_a_seed_makes_sampling_reproducible_also_among_others(model):
    requests = [ask(seed=i % 3, temperature=1.0, max_tokens=8) for i in range(9)]
    replies = await asyncio.gather(*(model.complete(r) for r in requests))
    texts = [r.text for r in replies]
    assert texts[:3] == texts[3:6] == texts[6:]
    assert len(set(texts)) == 3


async def test_the_random_state_of_the_process_is_left_alone(model):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    await model.complete(ask(seed=1, temperature=1.0, max_tokens=4))
    assert torch.equal(torch.rand(3), expected)


async def test_temperature_zero_is_greedy(model):
    replies = [await model.complete(ask(seed=seed, temperature=0.0, max_tokens=6)) for seed in (1, 2)]
    assert replies[0].text == replies[1].text


async def test_without_a_temperature_another_seed_gives_another_reply(model):
    """A greedy model would say the same useless thing at every retry."""
    replies = [await model.complete(ask(seed=seed, max_tokens=8)) for seed in (1, 2, 1)]
    assert replies[0].text == replies[2].text != replies[1].text


async def test_a_seed_that_is_not_to_be_sent_is_not_used(model):
    replies = [await model.complete(ask(seed=1, max_tokens=8, sends_seed=False)) for _ in range(4)]
    assert len({reply.text for reply in replies}) > 1


async def test_top_p_keeps_the_likely_tokens_alone(model):
    greedy = await model.complete(ask(temperature=0.0, max_tokens=6))
    almost = [await model.complete(ask(seed=seed, top_p=1e-6, max_tokens=6)) for seed in range(3)]
    assert {reply.text for reply in almost} == {greedy.text}


async def test_a_stop_text_ends_a_reply_before_it(model):
    whole = await model.complete(ask(temperature=0.0, max_tokens=8))
    words = whole.text.split()
    end = next(word for word in words if word != words[0])
    reply = await model.complete(ask(temperature=0.0, max_tokens=8, stop=(end,)))
    assert reply.text.split() == words[: words.index(end)]
    assert reply.outcome is ReplyOutcome.COMPLETE
    assert reply.completion_tokens < whole.completion_tokens


async def test_the_chat_template_gets_its_switches_and_nothing_else_is_taken(tmp_path):
    shouting = "{% if loud %}w9 {% endif %}" + TEMPLATE
    model = LocalChatModel(save(tmp_path / "loud", template=shouting))
    loud = ask(max_tokens=1, extra_body={"chat_template_kwargs": {"loud": True}})
    assert len(model._prompt(loud).ids) == len(model._prompt(ask(max_tokens=1)).ids) + 1
    with pytest.raises(RequestRejectedError, match="no extra_body but chat_template_kwargs, got top_k"):
        await model.complete(ask(extra_body={"top_k": 3}))


async def test_requests_that_wait_for_the_thread_can_be_told_to_stop(model):
    model.stop_waiting()
    with pytest.raises(StoppedWaitingError):
        await model.complete(ask(max_tokens=1))
    model.resume_waiting()
    assert await model.complete(ask(max_tokens=1))


async def test_a_reply_cut_by_max_tokens_is_of_outcome_length(model):
    reply = await model.complete(ask(temperature=0.0, max_tokens=3))
    assert (reply.outcome, reply.completion_tokens) == (ReplyOutcome.LENGTH, 3)


async def test_a_full_context_cuts_the_reply_and_a_longer_prompt_is_rejected(model):
    reply = await model.complete(ask(" ".join(["w1"] * 20), temperature=0.0))
    assert reply.prompt_tokens + reply.completion_tokens <= CONTEXT
    with pytest.raises(RequestRejectedError, match="fill the context of 32"):
        await model.complete(ask(" ".join(["w1"] * 40)))


async def test_messages_that_the_template_refuses_are_rejected(model):
    messages = (Message(role="system", content="w1"), Message(role="user", content="w2"))
    with pytest.raises(RequestRejectedError, match="no system role"):
        await model.complete(ChatRequest(messages=messages))


@pytest.mark.parametrize("batch_size", [1, 3, 32])
async def test_many_are_answered_in_batches_as_one_by_one(model, batch_size, monkeypatch):
    sizes, generate = [], model._model.generate
    monkeypatch.setattr(
        model._model, "generate", lambda **inputs: sizes.append(len(inputs["input_ids"])) or generate(**inputs)
    )
    contents = ["w1", " ".join(["w2"] * 20), "w3 w4 w5", "w6", "w7 w8", "w9 w1 w2 w3"]  # the second has less room
    requests = [ask(content, temperature=0.0, max_tokens=12) for content in contents]
    together = await model.complete_all(requests, batch_size=batch_size)
    assert sum(sizes) == len(requests)
    assert max(sizes) == min(batch_size, len(requests) - 1)
    alone = [await model.complete(request) for request in requests]
    assert [told(reply) for reply in together] == [told(reply) for reply in alone]
    assert {reply.completion_tokens for reply in alone} >= {12}
    assert alone[1].prompt_tokens + alone[1].completion_tokens <= CONTEXT


def told(reply):
    return reply.text, reply.outcome, reply.prompt_tokens, reply.completion_tokens


async def test_the_same_batch_with_the_same_seed_is_sampled_alike_and_each_reply_on_its_own(model):
    requests = [ask("w1 w2", seed=3 + i, temperature=1.0, max_tokens=8) for i in range(6)]
    first, second = [await model.complete_all(requests) for _ in range(2)]
    assert [told(reply) for reply in first] == [told(reply) for reply in second]
    assert len({reply.text for reply in first}) > 1


async def test_what_is_asked_at_once_is_generated_in_one_batch_and_each_reply_is_what_it_is_alone(model, monkeypatch):
    sizes, generate = [], model._model.generate
    requests = [ask("w1 w2" + " w3" * (i % 4), seed=i, max_tokens=8) for i in range(6)]
    alone = [await model.complete(request) for request in requests]
    monkeypatch.setattr(
        model._model, "generate", lambda **inputs: sizes.append(len(inputs["input_ids"])) or generate(**inputs)
    )
    together = await asyncio.gather(*map(model.complete, requests))
    assert sizes == [6]
    assert [told(reply) for reply in together] == [told(reply) for reply in alone]


async def test_a_request_that_is_rejected_or_cancelled_leaves_the_others_of_its_batch_alone(model):
    bad = ChatRequest(messages=(Message(role="system", content="w1"), Message(role="user", content="w2")))
    tasks = [asyncio.create_task(model.complete(each)) for each in (ask(seed=1), bad, ask(seed=2), ask(seed=3))]
    await asyncio.sleep(0)
    tasks[2].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = [ChatReply, RequestRejectedError, asyncio.CancelledError, ChatReply]
    assert [type(each) for each in results] == kinds
    assert told(results[3]) == told(await model.complete(ask(seed=3)))


async def test_those_who_wait_for_a_batch_that_is_stopped_are_told(model):
    model.stop_waiting()
    try:
        results = await asyncio.gather(*(model.complete(ask(seed=i)) for i in range(3)), return_exceptions=True)
    finally:
        model.resume_waiting()
    assert [type(each) for each in results] == [StoppedWaitingError] * 3


def test_tokens_are_drawn_as_often_as_their_probability(model):
    """Against the softmax of the same logits, with temperature, top_k and top_p as transformers applies them."""
    num, temperature, top_p = 4000, 0.7, 0.8
    ids = model._prompt(ask("w1 w2")).ids
    with torch.inference_mode():
        logits = model._model(torch.tensor([ids]).to(model._model.device)).logits[0, -1].double().cpu()
    likely, order = (logits / temperature).softmax(-1).sort(descending=True)
    kept = likely.cumsum(0) - likely < top_p
    expected = torch.zeros_like(likely).scatter(0, order[kept], likely[kept] / likely[kept].sum())
    sampling = Sampling(temperature=temperature, top_p=top_p)
    options = {"max_new_tokens": 1, "pad_token_id": 0}
    drawn = [row[0] for row in generate(model._model, model._tokenizer, [ids] * num, sampling, range(num), options)]
    share = torch.bincount(torch.tensor(drawn), minlength=len(expected)) / num
    assert share[expected == 0].sum() == 0
    assert (share - expected).abs().max() < 4 * (0.25 / num) ** 0.5


async def test_requests_that_cannot_be_answered_are_told_apart_from_the_others_of_their_batch(model):
    system = ChatRequest(messages=(Message(role="system", content="w1"), Message(role="user", content="w2")))
    kinds = [ask(max_tokens=2, temperature=0.0), ask(max_tokens=2, temperature=1.0), ask(max_tokens=4)]
    replies = await model.complete_all([system, *kinds, ask(" ".join(["w1"] * 40))])
    assert [type(reply) for reply in replies] == [RequestRejectedError, *[ChatReply] * 3, RequestRejectedError]
    assert [reply.completion_tokens for reply in replies[1:3]] == [2, 2]
    assert await model.complete_all([]) == []


CHOSEN = "{% for m in messages %} {{ m.role }}: {{ m.content }} <unk>{% endfor %}"
CHOSEN += "{% if add_generation_prompt %} assistant:{% endif %}"


async def test_a_base_model_is_given_a_chat_template_by_its_endpoint(tmp_path):
    path, file = save(tmp_path / "base", template=None), tmp_path / "chosen.jinja"
    file.write_text(CHOSEN)
    model = load_model(f"local:{path}?chat_template={file}")
    assert model.name == f"local:{path}?chat_template={file}"
    reply = await model.complete(ask("w1 w2", temperature=0, max_tokens=3))
    assert reply.prompt_tokens == 5  # user: w1 w2 <unk> assistant:


async def test_a_reply_ends_with_the_token_that_closes_messages_in_a_chosen_template(tmp_path):
    path, file = save(tmp_path / "base", template=None), tmp_path / "chosen.jinja"
    first = await LocalChatModel(save(tmp_path / "chat", template=CHOSEN)).complete(
        ask("w1 w2", temperature=0, max_tokens=4)
    )
    word = first.text.split()[0]
    file.write_text(CHOSEN.replace("<unk>", word))
    fast = PreTrainedTokenizerFast.from_pretrained(path)
    fast.add_special_tokens({"additional_special_tokens": [word]})
    fast.save_pretrained(path)
    model = LocalChatModel(path, str(file))
    assert model._end_tokens() == (1, WORDS.index(word))
    reply = await model.complete(ask("w1 w2", max_tokens=20, seed=0))
    assert word not in reply.text.split()


async def test_of_several_chat_templates_the_default_is_taken_or_the_one_that_is_named(tmp_path):
    path = save(tmp_path / "named", template={"default": TEMPLATE, "long": TEMPLATE + TEMPLATE})
    asked = ask("w1 w2", temperature=0, max_tokens=1)
    default, named = [
        (await model.complete(asked)).prompt_tokens
        for model in (LocalChatModel(path), load_model(f"local:{path}?chat_template=long"))
    ]
    assert (default, named) == (5, 10)
    with pytest.raises(InvalidInputError, match=r"long, is named default: name one as local:.*\?chat_template="):
        LocalChatModel(save(tmp_path / "undecided", template={"long": TEMPLATE}))


@pytest.mark.parametrize("spec", ["local:?chat_template=chatml", "local:model?chat_template="])
def test_an_endpoint_with_half_a_chat_template_is_refused(spec):
    with pytest.raises(InvalidInputError, match="expected MODEL@BASE_URL"):
        load_model(spec)


async def test_a_template_that_breaks_on_messages_refuses_the_request(tmp_path):
    template = "{% for m in messages %}{{ 1 // (m.content | length - 2) }}{% endfor %} assistant:"
    with pytest.raises(RequestRejectedError, match="the chat template refuses the messages"):
        await LocalChatModel(save(tmp_path / "breaks", template=template)).complete(ask("w1"))


def test_what_cannot_be_loaded_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="there is no such folder; expected the folder of a model"):
        LocalChatModel(str(tmp_path / "nothing"))
    with pytest.raises(InvalidInputError, match="no chat template"):
        LocalChatModel(save(tmp_path / "plain", template=None))
    with pytest.raises(InvalidInputError, match="safetensors"):
        LocalChatModel(pickled(tmp_path / "pickled"))


def pickled(path):
    """Save a model whose weights are a pickle."""
    save(path)
    (path / "model.safetensors").unlink()
    torch.save({}, path / "pytorch_model.bin")
    return str(path)
