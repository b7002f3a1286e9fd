"""Bodies with the status 200, in the forms in which real servers send them."""

import json

import pytest

from music.llm import (
    ChatReply,
    ClientSettings,
    EndpointTimeoutError,
    EndpointUnavailableError,
    MalformedReplyError,
    OpenAIChatModel,
    PacingSettings,
    RateLimitedError,
    ReplyOutcome,
    RequestRejectedError,
    RetryPolicy,
    TokenLogprobs,
)
from music.llm.chat import TryUsage
from music.llm.choice import outcome_of
from music.llm.completion import read_completion
from music.llm.retry import FailedTryError

COMPLETE, CUT, FILTERED = ReplyOutcome.COMPLETE, ReplyOutcome.LENGTH, ReplyOutcome.CONTENT_FILTER
TOOL, EMPTY, THOUGHT = ReplyOutcome.TOOL_CALLS, ReplyOutcome.EMPTY, ReplyOutcome.THOUGHT
KEY = "sk-secret-0123456789abcdef"
CALL = {"id": "x", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def body(message=None, finish_reason="stop", choice=None, **fields):
    message = {"role": "assistant", "content": "Hello."} if message is None else message
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason} | (choice or {})]
    return {"model": "m-2026", "choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 2}} | fields


def read(fields) -> ChatReply:
    return read_completion(json.dumps(fields).encode(), "m@http://h/v1", "m", lambda text: text.replace(KEY, "[key]"))


def failure(fields):
    """Return what kept a reply from coming, out of its failed try."""
    with pytest.raises((FailedTryError, RequestRejectedError)) as info:
        read(fields)
    return info.value


@pytest.mark.parametrize(
    ("outcome", "reasons"),
    [
        (COMPLETE, ["stop", "STOP", "eos", "eos_token", "stop_sequence", "end_turn", "COMPLETE", "eosFound", "normal"]),
        (COMPLETE, [None, "", "null", {"type": "stop", "matched": 2}]),
        (CUT, ["length", "LENGTH", "max_tokens", "MAX_TOKENS", "model_length", "model_context_window_exceeded"]),
        (CUT, [{"type": "length", "length": 16}, "ERROR_LIMIT", "contextLengthReached"]),
        (FILTERED, ["content_filter", "SAFETY", "RECITATION", "refusal", "content_filter: PROHIBITED_CONTENT"]),
        (FILTERED, ["sensitive", "guardrail_intervened", "ERROR_TOXIC", "BLOCKLIST"]),
        (
            TOOL,
            ["tool_calls", "function_call", "tool_use", "TOOL_CALL", "function_call_filter: MALFORMED_FUNCTION_CALL"],
        ),
    ],
)
def test_finish_reasons_that_are_known_are_data(outcome, reasons):
    for reason in reasons:
        assert read(body(finish_reason=reason)).outcome is outcome, reason
        assert read(body(finish_reason=reason)).text == "Hello."


def test_a_choice_without_a_finish_reason_is_complete():
    fields = body()
    del fields["choices"][0]["finish_reason"]
    assert read(fields).outcome is COMPLETE


@pytest.mark.parametrize(
    "reason", ["error", "ERROR", "abort", "cancelled", "network_error", "insufficient_system_resource", "repetition"]
)
def test_a_reply_that_broke_off_is_a_failed_try_of_its_endpoint(reason):
    failed = failure(body(finish_reason=reason))
    assert isinstance(failed.error, EndpointUnavailableError)
    assert f"the reply broke off (finish_reason {reason!r})" in str(failed.error)
    assert failed.usage == TryUsage(prompt_tokens=5, completion_tokens=2)


@pytest.mark.parametrize("reason", ["odd", 7, ["stop"], {"matched": 2}, "\x1b[31m" + KEY + "x" * 9000])
def test_an_unknown_reason_is_a_failed_try_that_names_it(reason):
    failed = failure(body(finish_reason=reason))
    assert isinstance(failed.error, MalformedReplyError)
    said = str(failed.error)
    assert "unknown finish_reason" in said
    assert KEY not in said
    assert len(said) < 500
    assert said.isprintable()


@pytest.mark.parametrize("place", ["choice", "specific"])
@pytest.mark.parametrize(
    ("native", "outcome"),
    [("length", CUT), ("MAX_TOKENS", CUT), ("SAFETY", FILTERED), ("stop", COMPLETE), ("some new word", COMPLETE)],
)
def test_a_gateway_that_calls_all_ends_stop_is_not_believed(place, native, outcome):
    choice = {"native_finish_reason": native}
    choice = choice if place == "choice" else {"provider_specific_fields": choice}
    assert read(body(choice=choice)).outcome is outcome
    broken = {name: {"native_finish_reason": "error"} for name in ("provider_specific_fields",)}
    assert isinstance(failure(body(choice=broken)).error, EndpointUnavailableError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 502, "message": "it broke"}, EndpointUnavailableError),
        ({"code": "503", "message": "it broke"}, EndpointUnavailableError),
        ({"message": "it broke", "type": "server_error", "code": None}, EndpointUnavailableError),
        ({"message": "it broke"}, EndpointUnavailableError),
        ("it broke", EndpointUnavailableError),
        ({"code": 408, "message": "it broke"}, EndpointTimeoutError),
        ({"code": 429, "message": "it broke"}, RateLimitedError),
        ({"code": "rate_limit_exceeded", "message": "it broke"}, RateLimitedError),
        ({"code": 0, "status": "RESOURCE_EXHAUSTED", "message": "it broke"}, RateLimitedError),
    ],
)
@pytest.mark.parametrize("place", ["top", "choice", "alone"])
def test_an_error_in_a_body_is_a_failed_try(error, kind, place):
    fields = {
        "top": body(error=error),
        "choice": body({"role": "assistant", "content": "Half a"}, choice={"error": error}),
        "alone": {"error": error, "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
    }[place]
    failed = failure(fields)
    assert type(failed.error) is kind
    assert "m@http://h/v1: HTTP 200 with an error: it broke" in str(failed.error)
    assert failed.usage == TryUsage(prompt_tokens=5, completion_tokens=2)


@pytest.mark.parametrize(
    "error",
    [
        {"code": 400, "message": "it broke"},
        {"code": 401, "message": "it broke"},
        {"type": "invalid_request_error", "message": "it broke"},
        {"code": "context_length_exceeded", "message": "it broke"},
        {"code": "insufficient_quota", "message": "it broke"},
    ],
)
def test_an_error_in_a_body_that_would_come_again_is_a_rejection(error):
    assert isinstance(failure({"error": error}), RequestRejectedError)


def test_an_error_object_is_an_error():
    failed = failure({"object": "error", "message": "no room", "type": "InternalServerError", "code": 500})
    assert isinstance(failed.error, EndpointUnavailableError)
    assert "no room" in str(failed.error)


@pytest.mark.parametrize("nothing", [None, "", {}, False])
def test_an_empty_error_is_none(nothing):
    assert read(body(error=nothing, choice={"error": nothing})).text == "Hello."


@pytest.mark.parametrize(
    ("message", "finish_reason", "outcome", "text", "thinking"),
    [
        ({"content": ""}, "stop", EMPTY, "", ""),
        ({"content": None}, "stop", EMPTY, "", ""),
        ({"content": None}, "length", CUT, "", ""),
        ({"content": " \n"}, "length", CUT, "", ""),
        ({"content": None, "reasoning_content": "Hm."}, "length", CUT, "", "Hm."),
        ({"content": None, "reasoning_content": "Hm."}, "stop", THOUGHT, "", "Hm."),
        ({"content": "", "reasoning": "Hm."}, "stop", THOUGHT, "", "Hm."),
        ({"content": "Yes.", "reasoning": "Hm."}, "stop", COMPLETE, "Yes.", "Hm."),
        ({"content": "Yes.", "reasoning": None, "reasoning_content": "Hm."}, "stop", COMPLETE, "Yes.", "Hm."),
        ({"content": "Yes.", "reasoning_content": {"odd": 1}}, "stop", COMPLETE, "Yes.", ""),
        ({"content": "<think>Hm.</think>Yes."}, "stop", COMPLETE, "Yes.", "Hm."),
        ({"content": "<think>Hm."}, "stop", THOUGHT, "", "Hm."),
        ({"content": "<think>Hm."}, "length", CUT, "", "Hm."),
        ({"content": None, "refusal": "I cannot."}, "stop", FILTERED, "", ""),
        ({"content": None, "refusal": None}, "content_filter", FILTERED, "", ""),
        ({"content": None, "tool_calls": [CALL]}, "tool_calls", TOOL, "", ""),
        ({"content": "Let me look.", "tool_calls": [CALL]}, "tool_calls", TOOL, "Let me look.", ""),
        ({"content": "Let me look.", "tool_calls": [CALL]}, "stop", TOOL, "Let me look.", ""),
        ({"content": "", "function_call": CALL["function"]}, None, TOOL, "", ""),
        ({"content": "Yes.", "tool_calls": [], "refusal": ""}, "stop", COMPLETE, "Yes.", ""),
    ],
)
def test_what_is_in_a_message(message, finish_reason, outcome, text, thinking):
    reply = read(body(message, finish_reason))
    assert (reply.outcome, reply.text, reply.thinking) == (outcome, text, thinking)


@pytest.mark.parametrize("choice", [{"message": None}, {}])
def test_a_filtered_choice_may_have_no_message(choice):
    fields = body(finish_reason="content_filter: PROHIBITED_CONTENT", choice=choice)
    if not choice:
        del fields["choices"][0]["message"]
    assert read(fields).outcome is FILTERED


@pytest.mark.parametrize(
    ("parts", "text", "thinking"),
    [
        ([{"type": "text", "text": "Yes, "}, {"type": "text", "text": "do."}], "Yes, do.", ""),
        ([{"type": "output_text", "text": "Yes."}], "Yes.", ""),
        ([{"text": "Yes."}, None, "!"], "Yes.!", ""),
        ([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Yes."}], "Yes.", "Hm."),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "Yes."}],
            "Yes.",
            "Hm.",
        ),
        (
            [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
                {"type": "text", "text": "Yes."},
            ],
            "Yes.",
            "Hm.",
        ),
        ([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "Yes."}], "Yes.", ""),
        ([{"type": "text", "text": "<think>Hm.</think>"}, {"type": "text", "text": "Yes."}], "Yes.", "Hm."),
        ([{"type": "text", "text": None}, {"type": "text", "text": "Yes."}], "Yes.", ""),
    ],
)
def test_content_in_parts_is_joined(parts, text, thinking):
    reply = read(body({"content": parts}))
    assert (reply.outcome, reply.text, reply.thinking) == (COMPLETE, text, thinking)


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        ([], EMPTY),
        ([None], EMPTY),
        ([{"type": "thinking", "thinking": "Hm."}], THOUGHT),
        ([{"type": "refusal", "refusal": "No."}], FILTERED),
        ([{"type": "text", "text": "Let me look."}, {"type": "tool_use", "name": "look", "input": {}}], TOOL),
    ],
)
def test_parts_without_an_answer(parts, outcome):
    assert read(body({"content": parts})).outcome is outcome


def test_a_body_that_is_not_json_is_shown_from_its_beginning_without_the_key():
    streamed = f'data: {{"choices": "{KEY}"}}\n\n{"x" * 200}'
    with pytest.raises(FailedTryError) as info:
        read_completion(streamed.encode(), "m@http://h/v1", "m", lambda text: text.replace(KEY, "[key]"))
    assert isinstance(info.value.error, MalformedReplyError)
    assert (
        """is not JSON: Expecting value: line 1 column 1 (char 0); it begins 'data: {"choices": "[key]"} xxx"""
        in str(info.value.error)
    )
    assert "x" * 80 not in str(info.value.error)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ([{"type": "image_url", "image_url": {"url": "http://x"}}], "image_url"),
        ([{"type": ["odd"]}], "odd"),
        ([3], "int"),
        ([{"type": "text", "text": 3}], "text of int"),
        (3, "int"),
        ({"text": "Yes."}, "dict"),
    ],
)
def test_content_that_is_no_text_is_a_failed_try_that_names_it(content, kind):
    failed = failure(body({"content": content}))
    assert isinstance(failed.error, MalformedReplyError)
    assert kind in str(failed.error)
    assert failed.usage is not None


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}, 4),
        ({"prompt_tokens": 9, "prompt_tokens_details": None, "prompt_cache_hit_tokens": 3}, 3),
        ({"prompt_tokens": 9, "cache_read_input_tokens": 2}, 2),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 400}}, 9),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": -1}}, 0),
    ],
)
def test_cached_tokens_are_read(usage, cached):
    assert read(body(usage=usage)).cached_tokens == cached


def test_a_key_that_is_echoed_is_in_no_part_of_a_reply():
    message = {"content": f"<think>{KEY}</think>{KEY}.", "reasoning_content": KEY}
    reply = read(body(message, model=KEY))
    assert KEY not in repr(reply)
    assert (reply.text, reply.thinking, reply.model) == ("[key].", "[key]\n\n[key]", "[key]")
    assert KEY not in str(failure(body(error={"message": KEY})))


def spelled(*tokens):
    content = [
        {"token": token, "logprob": -0.1, "top_logprobs": [{"token": token, "logprob": -0.1}]} for token in tokens
    ]
    return {"logprobs": {"content": content}}


@pytest.mark.parametrize(
    ("content", "tokens", "kept"),
    [
        ("So: [[7]]", ("So", ":", " [[", "7", "]]"), ("So", ":", " [[", "7", "]]")),
        ("<think>3 or 7?</think>\n[[7]]", ("<think>", "3 or 7?", "</think>", "\n", "[[", "7", "]]"), ("[[", "7", "]]")),
        ("[[7]]<|im_end|>", ("[[", "7", "]]", "<|im_end|>"), ("[[", "7", "]]")),
        ("assistant\n\n[[7]]", ("assistant", "\n\n", "[[", "7", "]]"), ("[[", "7", "]]")),
        ("<think>Hm.</think>[[7]]", ("[[7", "]]"), ("[[7", "]]")),
        ("<think>Hm.</think>[[7]]", ("other", "words"), ()),
    ],
)
def test_logprobs_are_of_the_answer_alone(content, tokens, kept):
    reply = read(body({"content": content}, choice=spelled(*tokens)))
    assert tuple(each.token for each in reply.logprobs) == kept
    assert all(isinstance(each, TokenLogprobs) for each in reply.logprobs)


@pytest.mark.parametrize(
    "bad",
    [
        body(finish_reason="abort"),
        body(finish_reason="odd"),
        body(error={"code": 502, "message": "it broke"}),
        {"error": {"code": 429, "message": "slow down"}},
        body({"content": [{"type": "image_url"}]}),
    ],
    ids=["abort", "odd", "error", "limited", "image"],
)
async def test_such_a_try_is_repeated(serve, script, completion, hello, bad):
    server = script(bad, bad, completion("Whole."))
    settings = ClientSettings(retry=RetryPolicy(backoff=0.0), pacing=PacingSettings(cooldown=0.0))
    model = OpenAIChatModel("m", await serve(server), settings)
    try:
        assert (await model.complete(hello)).text == "Whole."
    finally:
        await model.aclose()
    assert len(server.requests) == 3


def test_every_outcome_but_two_has_finish_reasons_of_its_own():
    assert {outcome_of(word) for word in ("stop", "length", "content_filter", "tool_calls")} == set(ReplyOutcome) - {
        EMPTY,
        THOUGHT,
    }
