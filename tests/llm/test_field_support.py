"""Answers as real servers word them."""

import json

import pytest

from music.llm.field_support import refused_field

SENT = [
    "model",
    "messages",
    "seed",
    "temperature",
    "top_p",
    "stop",
    "max_tokens",
    "response_format",
    "logprobs",
    "top_k",
]


def openai(message, **more):
    return {"error": {"message": message, "type": "invalid_request_error", **more}}


def extra(*place):
    return {"type": "extra_forbidden", "loc": ["body", *place], "msg": "Extra inputs are not permitted", "input": 1}


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        (
            openai(
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                code="unsupported_parameter",
                param="max_tokens",
            ),
            "max_tokens",
        ),
        (
            openai(
                "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is "
                "supported.",
                code="unsupported_value",
                param="temperature",
            ),
            "temperature",
        ),
        (openai("You are not allowed to request logprobs from this model.", code=None, param=None), "logprobs"),
        (openai("Unrecognized request argument supplied: seed"), "seed"),
        (openai("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model."), None),
        ({"detail": [extra("seed")]}, "seed"),
        ({"object": "error", "message": {"detail": [extra("seed")]}, "type": "invalid_request_error"}, "seed"),
        (
            openai("[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs', 'input': 1}]"),
            "seed",
        ),
        (
            [
                {
                    "error": {
                        "code": 400,
                        "message": 'Invalid JSON payload received. Unknown name "seed": Cannot find field.',
                    }
                }
            ],
            "seed",
        ),
        (openai("litellm.UnsupportedParamsError: groq does not support parameters: ['seed'], for model=x."), "seed"),
        (openai("ollama does not support parameters: {'seed': 1}, for model=llama3. To drop these, ..."), "seed"),
        (openai("property 'seed' is unsupported"), "seed"),
        (openai("property 'body.seed' is unsupported"), "seed"),
        ({"message": "unknown field: parameter 'seed' is not a valid field. For proper usage, see ..."}, "seed"),
        ({"error": 'json: unknown field "seed"'}, "seed"),
        (openai("unknown field `seed`, expected one of `model`, `messages`, `max_tokens`, `stop`"), "seed"),
        ({"message": "#: extraneous key [stop] is not permitted, please reformat your input and try again."}, "stop"),
        ({"error": {"message": "Extra inputs are not permitted, field: 'seed'"}}, "seed"),
        (openai("Argument not supported on this model: stop"), "stop"),
        (openai("`temperature` is deprecated for this model."), "temperature"),
        ({"error": "Extra inputs are not permitted: top_k"}, "top_k"),
        (
            {
                "detail": [
                    {
                        "type": "literal_error",
                        "loc": ["body", "response_format", "type"],
                        "msg": "Input should be 'text' or 'json_object'",
                    }
                ]
            },
            "response_format",
        ),
        (
            openai('response_format type must be one of "text" or "json_object", but got: json_schema'),
            "response_format",
        ),
        (
            openai(
                "Failed to deserialize the JSON body into the target type: response_format: This response_format type "
                "is unavailable now at line 1 column 43"
            ),
            "response_format",
        ),
        ("seed is not supported", "seed"),
    ],
)
def test_the_refused_field_is_found(answer, field):
    body = answer if isinstance(answer, str) else json.dumps(answer)
    assert refused_field(body.encode(), SENT) == (field or "response_format")


@pytest.mark.parametrize(
    "answer",
    [
        openai(
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the "
            "messages, 1000 in the completion). Please reduce the length of the messages or completion.",
            code="context_length_exceeded",
            param="messages",
        ),
        openai(
            "'max_tokens' or 'max_completion_tokens' is too large: 1000. This model's maximum context length is 4096 "
            "tokens and your request has 4000 input tokens",
            param="max_tokens",
            code="invalid_value",
        ),
        openai("max_tokens is not allowed to exceed 4096"),
        openai("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        openai("The model `seed-oss` does not exist or is not available."),
        openai("System role not supported"),
        openai("Conversation roles must alternate user/assistant"),
        openai("Invalid image in messages: unsupported format"),
        {"detail": [{"type": "int_parsing", "loc": ["body", "seed"], "msg": "Input should be a valid integer"}]},
        {
            "detail": [
                {
                    "type": "value_error",
                    "loc": ["body"],
                    "msg": "Value error, tools are not supported",
                    "input": {"seed": 3, "max_tokens": 5},
                }
            ]
        },
        openai(
            "[{'type': 'value_error', 'msg': 'Value error, tools are not supported', 'input': {'seed': 3, 'stop': []}}]"
        ),
        openai('Unknown name "max_output_tokens": Cannot find field.'),
        openai("Your request was rejected by the moderation system. Please stop."),
        {},
        [],
        "",
        "<html>Bad Request</html>",
    ],
)
def test_other_complaints_are_blamed_on_no_field(answer):
    body = answer if isinstance(answer, str) else json.dumps(answer)
    assert refused_field(body.encode(), SENT) is None


def test_only_what_was_sent_is_refused():
    answer = json.dumps({"detail": [extra("seed")]}).encode()
    assert refused_field(answer, ["model", "messages"]) is None
