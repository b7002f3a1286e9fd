"""Requests made from the server's own OpenAPI document, valid and invalid: each answer is one that it describes."""

import json
import urllib.request

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from music.serving import reward_server

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def url(checkpoint):
    with reward_server(str(checkpoint), "--device", "cpu", "--max-conversations", "64") as base:
        yield base


@pytest.fixture(scope="module")
def api(url):
    return schemathesis.openapi.from_url(f"{url}/openapi.json", config=SchemathesisConfig())


def test_the_document_is_valid(api):
    api.validate()


def test_every_answer_is_one_that_the_document_describes(api, url):
    operations = [result.ok() for result in api.get_all_operations()]
    assert {"/v1/score", "/v1/reload", "/ready", "/metrics"} <= {operation.path for operation in operations}
    modes = {
        operation: (GenerationMode.POSITIVE, GenerationMode.NEGATIVE) for operation in operations if operation.body
    }
    cases = st.one_of(
        operation.as_strategy(generation_mode=mode)
        for operation in operations
        for mode in modes.get(operation, (GenerationMode.POSITIVE,))
    )

    @settings(max_examples=200, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(cases))
    def run(case):
        case.call_and_validate(base_url=url, checks=CHECKS, timeout=60)

    run()


TEXTS = ["", "Hi", "\x00", "\u2028", "😀", "<|end|>", "{{ 7 * 7 }}", "a" * 5_000, " ", "\ufeff"]
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool", "bot"]), "content": st.sampled_from(TEXTS)},
    optional={
        "tool_calls": st.one_of(
            st.sampled_from(["", "{", "[1, 2]", "null", [], [1e400], [2**80], [{"function": {"name": 1}}], {"a": 1}]),
            st.recursive(
                st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
            ),
        ),
        "tool_call_id": st.sampled_from(["", "1", 1, None]),
        "name": st.sampled_from(["", "a", 3]),
        "extra": st.just(1),
    },
)


@settings(max_examples=150)
@given(st.lists(st.lists(MESSAGES, max_size=6), max_size=4), st.booleans())
def test_each_conversation_has_a_score_or_an_error(url, conversations, per_turn):
    body = json.dumps({"conversations": conversations, "per_turn": per_turn}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/score", body), timeout=30) as response:
        data = json.load(response)["data"]
    assert [item["index"] for item in data] == list(range(len(conversations)))
    assert all((item["score"] is None) == (item["error"] is not None) for item in data)
    assert not any(item["error"] and item["error"]["code"] == "failed" for item in data)
