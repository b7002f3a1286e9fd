import pytest

BAD_REQUEST = {"type": "BadRequestError", "param": None, "code": 400}


def probs(answer):
    """Return the scores of an answer of vLLM's form, after a check of its shape."""
    assert [(each["index"], each["label"], each["num_classes"]) for each in answer["data"]] == [
        (index, "LABEL_0", 1) for index in range(len(answer["data"]))
    ]
    return [score for each in answer["data"] for score in each["probs"]]


@pytest.mark.parametrize("is_list", [True, False])
@pytest.mark.parametrize("kind", ["text", "text without BOS", "ids", "ids without BOS"])
def test_vllms_input_is_scored_like_the_messages(ask, render, ids, talks, expected, kind, is_list):
    rendered = [render(talk) if "text" in kind else ids(talk) for talk in talks]
    if "without BOS" in kind:
        rendered = [each.removeprefix("<|bos|>") if isinstance(each, str) else each[1:] for each in rendered]
    answers = [ask("/classify", {"input": rendered})] if is_list else [ask("/classify", {"input": r}) for r in rendered]
    assert [score for answer in answers for score in probs(answer)] == expected


def test_vllms_answer_has_its_fields_and_says_that_scores_are_raw(ask, served, render, talks, ids):
    answer = ask("/classify", {"model": "rm", "input": [render(talk) for talk in talks], "use_activation": False})
    assert answer["id"].startswith("classify-")
    assert answer["created"] > 0
    num = sum(len(ids(talk)) for talk in talks)
    assert answer["usage"] == {"prompt_tokens": num, "total_tokens": num}
    assert (answer["object"], answer["model"], answer["activation"]) == ("list", served.name, "none")
    assert answer.keys() == {"id", "object", "created", "model", "data", "usage", "activation"}


@pytest.mark.parametrize("flag", [True, None])
def test_an_activation_is_never_applied_and_the_answer_says_so(ask, talks, expected, flag):
    answer = ask("/classify", {"messages": talks[1].to_messages(), "use_activation": flag})
    assert probs(answer) == [expected[1]]
    assert answer["activation"] == "none"


def test_vllms_messages_may_be_of_openais_form(ask, talks, expected):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Name a fruit."}]},
        {"role": "assistant", "content": "An apple.", "refusal": None},
    ]
    for each in (messages, talks[0].to_messages()):
        assert probs(ask("/classify", {"messages": each, "add_generation_prompt": False})) == expected[:1]


@pytest.mark.parametrize("field", ["text", "input_ids"])
def test_sglangs_request_gets_sglangs_answer(ask, render, ids, talks, expected, field):
    rendered = [render(talk) if field == "text" else ids(talk) for talk in talks]
    answer = ask("/classify", {"model": "rm", field: rendered})
    assert [each["embedding"] for each in answer] == [[score] for score in expected]
    assert [each["meta_info"] for each in answer] == [
        {"prompt_tokens": len(ids(talk)), "num_dropped_turns": 0} for talk in talks
    ]
    assert ask("/classify", {field: rendered[1]})["embedding"] == [expected[1]]


def test_long_conversations_are_shortened_as_the_contract_says(ask, served, render, make_long):
    long = make_long(60)
    (item,) = ask("/classify", {"text": [render(long)]})
    assert item["meta_info"]["num_dropped_turns"] > 0
    assert item["embedding"] == pytest.approx(served.model.score([long]), abs=1e-5)


@pytest.fixture
def make_long(talks):
    def make(num):
        talk = talks[0]
        for _ in range(num):
            talk = talk.user("And another fruit?").assistant("A pear, of course.")
        return talk

    return make


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "expected either input, messages, text or input_ids, got none of them"),
        ({"input": "a", "text": "a"}, "expected either input, messages, text or input_ids, got input and text"),
        ({"input": []}, "input: expected text, token ids, or a list of either that is not empty"),
        ({"input": ["a", 1]}, "input: expected text, token ids, or a list of either that is not empty"),
        ({"input": [True]}, "input: expected text, token ids, or a list of either that is not empty"),
        ({"input": [-1]}, "input: expected text, token ids, or a list of either that is not empty"),
        ({"text": 3}, "text: expected text, or a list of texts that is not empty"),
        ({"input_ids": [[1], ["a"]]}, "input_ids: expected token ids, or a list of lists of token ids"),
        ({"input_ids": [[9999]]}, "expected ids of the model's tokenizer"),
        ({"text": ["Hello."]}, "the text is not what the model's chat template renders"),
        ({"text": ""}, "the text is not what the model's chat template renders"),
        ({"input": [[], []]}, "conversation 0: the text is not what the model's chat template renders"),
        ({"messages": []}, "expected it to end with the assistant"),
        ({"messages": [{"role": "user", "content": "Hi!"}]}, "expected it to end with the assistant"),
        ({"messages": [{"role": "user"}]}, "messages[0]: expected {role: string, content: string}"),
        ({"messages": [{"role": "assistant", "content": "Hi!"}]}, "roles out of order"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0]: expected content of text parts alone",
        ),
        ({"text": "a", "image_data": "b"}, "expected no image_data: only raw scores of text are given"),
        ({"text": "a", "lora_path": "b"}, "expected no lora_path"),
        ({"input": "a", "truncate_prompt_tokens": 5}, "expected no truncate_prompt_tokens: long conversations lose"),
        ({"messages": [], "add_generation_prompt": True}, "expected no add_generation_prompt"),
        ({"messages": [], "continue_final_message": True}, "expected no continue_final_message"),
        (
            {"messages": [], "chat_template": "{{ messages }}"},
            "expected no chat_template: scores need the chat template",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused_in_a_shape_that_both_read(ask, body, message):
    error = ask("/classify", body, status=400)["error"]
    assert error.pop("message").startswith(message)
    assert error == BAD_REQUEST


def test_an_error_names_its_conversation(ask, render, talks):
    for body in ({"input": [render(talks[0]), "Hello."]}, {"text": [render(talks[0]), "Hello."]}):
        error = ask("/classify", body, status=400)["error"]
        assert error["message"] == "conversation 1: the text is not what the model's chat template renders"


def test_the_models_own_maximum_may_be_asked_for(ask, render, talks, expected):
    assert probs(ask("/classify", {"input": render(talks[0]), "truncate_prompt_tokens": -1})) == expected[:1]


@pytest.mark.usefixtures("break_model")
def test_a_failure_of_the_server_is_no_fault_of_the_request(ask, render, talks):
    error = ask("/classify", {"input": render(talks[0])}, status=503)["error"]
    assert (error["type"], error["code"]) == ("ServiceUnavailableError", 503)
    assert "the model failed" in error["message"]


def test_a_floor_takes_the_place_of_a_missing_score_but_not_of_the_servers_failures(ask, load, render, talks, caplog):
    model = load(floor=-7.5)
    assert probs(ask("/classify", {"input": [render(talks[0]), "Hello."]}, model=model))[1] == -7.5
    assert "1 of 2 conversations got the floor: text_not_of_template" in caplog.text
