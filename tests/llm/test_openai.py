import asyncio
import json
import logging
import time
from dataclasses import replace

import pytest
from aiohttp import web

from music.conversation import Message
from music.errors import InvalidInputError
from music.llm import (
    BodyTruncatedError,
    ChatRequest,
    ClientSettings,
    Connection,
    EndpointTimeoutError,
    EndpointUnavailableError,
    MalformedReplyError,
    OpenAIChatModel,
    PacingSettings,
    RateLimitedError,
    ReplyOutcome,
    RequestRejectedError,
    RetryPolicy,
    Sampling,
)
from music.llm.retry import FailedTryError

KEY = "sk-secret-0123456789abcdef"


@pytest.fixture
async def open_client():
    """Open clients that do not really wait between tries, and note how long they would."""
    clients = []

    def open_(url, **settings):
        async def sleep(seconds):
            client.sleeps.append(seconds)

        client = OpenAIChatModel("m", url, ClientSettings(**settings), sleep=sleep)
        client.sleeps = []
        clients.append(client)
        return client

    yield open_
    for client in clients:
        await client.aclose()


def status(code, text="", **headers):
    return lambda: web.Response(status=code, text=text, headers=headers)


async def test_a_reply_is_read(serve, script, completion, open_client, hello):
    server = script(completion("Hello."))
    client = open_client(await serve(server))
    reply = await client.complete(hello)
    assert (reply.text, reply.outcome, reply.model) == ("Hello.", ReplyOutcome.COMPLETE, "m-2026")
    assert (reply.prompt_tokens, reply.completion_tokens) == (5, 2)


async def test_the_request_carries_what_was_asked_for_and_nothing_else(serve, script, completion, open_client, hello):
    server = script(completion())
    client = open_client(await serve(server))
    await client.complete(hello)
    await client.complete(
        ChatRequest(messages=hello.messages, sampling=Sampling(temperature=0.0, max_tokens=7), key="pair-1")
    )
    messages = [{"role": "user", "content": "Hi!"}]
    bodies = [body for _, body in server.requests]
    assert bodies[0] == {"model": "m", "messages": messages, "seed": 1}
    assert bodies[1] == {"model": "m", "messages": messages, "temperature": 0.0, "max_tokens": 7}


async def test_all_options_are_sent(serve, script, completion, open_client, hello):
    server = script(completion())
    url = await serve(server)
    client = open_client(url, connection=Connection(headers={"X-Title": "t", "authorization": "Basic x"}))
    sampling = Sampling(
        temperature=1.0,
        top_p=0.9,
        max_tokens=5,
        stop=("a", "b"),
        sends_seed=False,
        extra_body={"top_k": 3, "user": "u"},
    )
    await client.complete(replace(hello, sampling=sampling))
    ((headers, body),) = server.requests
    assert body.pop("messages")
    assert body == {"model": "m", "temperature": 1.0, "top_p": 0.9, "max_tokens": 5, "stop": ["a", "b"]} | {
        "top_k": 3,
        "user": "u",
    }
    sent = {name.lower(): value for name, value in headers.items()}
    assert (sent["x-title"], sent["authorization"]) == ("t", "Basic x")
    named = open_client(url, connection=Connection(max_tokens_field="num_predict"))
    await named.complete(replace(hello, sampling=Sampling(max_tokens=5)))
    assert server.requests[1][1]["num_predict"] == 5


async def test_a_query_string_goes_to_the_server_as_an_option(serve, completion, open_client, hello):
    seen = []

    async def answer(request):
        seen.append(dict(request.query))
        return web.json_response(completion())

    url = await serve(answer)
    with pytest.raises(InvalidInputError, match=r"--option query\.NAME=VALUE"):
        OpenAIChatModel("m", f"{url}?api-version=2024-10-21")
    for ending in ("", "/"):
        with pytest.raises(InvalidInputError, match=r"expected it without /chat/completions"):
            OpenAIChatModel("m", f"{url}/chat/completions{ending}")
    client = open_client(url, connection=Connection(query={"api-version": "2024-10-21"}))
    await client.complete(hello)
    assert seen == [{"api-version": "2024-10-21"}]
    assert "2024" not in client.name


async def test_header_and_query_values_are_not_in_errors_or_replies(serve, script, completion, open_client, hello):
    said = "you sent s3cret-of-mine, and in-the-query, and from Acme Corporation"
    server = script(status(500, said), completion(said))
    values = {"X-Api-Key": "s3cret-of-mine", "X-Title": "Acme Corporation"}
    client = open_client(
        await serve(server),
        retry=RetryPolicy(max_tries=1),
        connection=Connection(headers=values, query={"token": "in-the-query"}),
    )
    with pytest.raises(EndpointUnavailableError) as info:
        await client.complete(hello)
    assert "you sent [redacted], and [redacted], and from [redacted]" in str(info.value)
    reply = await client.complete(hello)
    # What is no secret by its name may well stand in a reply.
    assert reply.text == "you sent [redacted], and [redacted], and from Acme Corporation"


UNPERMITTED = {"type": "extra_forbidden", "msg": "Extra inputs are not permitted"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def picky(completion, *refused, **values):
    """Refuse some fields of a request with 422, and some values of others with 400; keep the requests' fields."""
    bodies = []

    async def answer(request):
        body = await request.json()
        bodies.append(body)
        for name in refused:
            if name in body:
                return web.json_response({"detail": [UNPERMITTED | {"loc": ["body", name]}]}, status=422)
        for name, value in values.items():
            if body.get(name, {}).get("type") == value:
                said = f"{name} type must be one of text, json_object"
                return web.json_response({"error": {"message": said}}, status=400)
        return web.json_response(completion())

    answer.bodies = bodies
    return answer


async def test_a_refused_seed_is_done_without_and_not_sent_again(serve, completion, open_client, hello, caplog):
    server = picky(completion, "seed")
    client = open_client(await serve(server))
    for _ in range(3):
        assert (await client.complete(hello)).text == "Hello."
    assert ["seed" in body for body in server.bodies] == [True, False, False, False]
    assert client.field_support.unsupported == ("seed",)
    assert [record.message for record in caplog.records] == [f"{client.name} refuses seed: later requests leave it out"]


async def test_max_tokens_is_renamed_where_it_is_refused(serve, completion, open_client, hello):
    server = picky(completion, "max_tokens", "logprobs", "seed")
    client = open_client(await serve(server))
    request = replace(hello, sampling=Sampling(max_tokens=5), top_logprobs=3)
    for _ in range(2):
        await client.complete(request)
    assert [sorted(body) for body in server.bodies[-2:]] == [["max_completion_tokens", "messages", "model"]] * 2
    assert len(server.bodies) == 5
    assert client.field_support.unsupported == ("seed", "max_tokens (max_completion_tokens in its place)", "logprobs")


async def test_a_bound_is_never_dropped(serve, completion, open_client, hello):
    server = picky(completion, "max_tokens", "max_completion_tokens")
    client = open_client(await serve(server))
    with pytest.raises(RequestRejectedError, match="does not take 'max_completion_tokens': leave out --option max"):
        await client.complete(replace(hello, sampling=Sampling(max_tokens=5)))
    assert client.field_support.unsupported == ()
    given = open_client(await serve(server), connection=Connection(max_tokens_field="max_tokens"))
    with pytest.raises(RequestRejectedError, match="does not take 'max_tokens': leave out --max-reply-tokens and --op"):
        await given.complete(replace(hello, sampling=Sampling(max_tokens=5)))


@pytest.mark.parametrize(
    ("field", "sampling"),
    [
        ("temperature", {"temperature": 0.5}),
        ("top_p", {"top_p": 0.5}),
        ("stop", {"stop": ("x",)}),
        ("top_k", {"extra_body": {"top_k": 5}}),
        ("seed", {"extra_body": {"seed": 5}}),
    ],
)
async def test_what_the_user_asked_for_is_not_dropped(serve, completion, open_client, hello, field, sampling):
    server = picky(completion, field)
    with pytest.raises(RequestRejectedError, match=f"the server does not take '{field}': leave out"):
        await open_client(await serve(server)).complete(replace(hello, sampling=Sampling(**sampling)))
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("refuses", "sent"),
    [
        ({}, {"type": "json_schema", "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True}}),
        ({"response_format": "json_schema"}, {"type": "json_object", "schema": SCHEMA}),
    ],
)
async def test_a_schema_is_sent_as_the_server_takes_it(serve, completion, open_client, hello, refuses, sent):
    server = picky(completion, **refuses)
    client = open_client(await serve(server))
    for _ in range(2):
        await client.complete(replace(hello, json_schema=SCHEMA))
    assert [body["response_format"] for body in server.bodies[-2:]] == [sent, sent]
    assert client.field_support.takes_schema
    assert len(server.bodies) == 2 + len(refuses)


@pytest.mark.parametrize("takes_guided_json", [True, False])
async def test_a_schema_falls_back_to_guided_json_and_then_to_free_text(
    serve, completion, open_client, hello, takes_guided_json
):
    server = picky(completion, "response_format", *([] if takes_guided_json else ["guided_json"]))
    client = open_client(await serve(server))
    for _ in range(2):
        assert (await client.complete(replace(hello, json_schema=SCHEMA))).text == "Hello."
    assert [body.get("guided_json") for body in server.bodies[-2:]] == [SCHEMA if takes_guided_json else None] * 2
    assert client.field_support.takes_schema == takes_guided_json


async def test_what_is_wrong_all_the_same_is_not_blamed_on_a_field(serve, script, open_client, hello):
    """The first answer blames the seed; without it the request is refused for what is really wrong."""
    blamed = status(400, json.dumps({"error": {"message": "seed is not supported"}}))
    server = script(blamed, status(400, json.dumps({"error": {"message": "the messages are too long"}})))
    client = open_client(await serve(server))
    with pytest.raises(RequestRejectedError, match="the messages are too long"):
        await client.complete(hello)
    assert client.field_support.unsupported == ()
    assert client.pacer.in_flight == 0


async def test_a_server_that_says_500_to_a_field_is_asked_without_it(serve, script, completion, open_client, hello):
    said = "litellm.UnsupportedParamsError: x does not support parameters: {'seed': 1}, for model=m."
    server = script(status(500, json.dumps({"error": {"message": said}})), completion())
    client = open_client(await serve(server))
    assert (await client.complete(hello)).text == "Hello."
    assert client.sleeps == []


@pytest.mark.parametrize(
    ("message", "finish_reason", "outcome", "text"),
    [
        ({"content": ""}, "stop", ReplyOutcome.EMPTY, ""),
        ({"content": None}, "tool_calls", ReplyOutcome.TOOL_CALLS, ""),
        ({"content": " \n"}, "length", ReplyOutcome.LENGTH, ""),
        ({"content": "cut o"}, "length", ReplyOutcome.LENGTH, "cut o"),
        ({"content": "hidden"}, "content_filter", ReplyOutcome.CONTENT_FILTER, "hidden"),
        ({"content": None, "refusal": "I cannot."}, "stop", ReplyOutcome.CONTENT_FILTER, ""),
        ({"content": "fine"}, None, ReplyOutcome.COMPLETE, "fine"),
    ],
)
async def test_ends_of_a_reply_are_data(
    serve, script, completion, open_client, hello, message, finish_reason, outcome, text
):
    server = script(completion(finish_reason=finish_reason, **message))
    reply = await open_client(await serve(server)).complete(hello)
    assert (reply.outcome, reply.text) == (outcome, text)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "usage", [None, {}, "many", {"prompt_tokens": -1, "completion_tokens": 1.5}, {"prompt_tokens": 2**70}]
)
async def test_usage_that_is_missing_or_nonsense_counts_as_none(serve, script, completion, open_client, hello, usage):
    server = script(lambda: web.Response(text=json.dumps(completion() | {"usage": usage})))
    reply = await open_client(await serve(server)).complete(hello)
    assert (reply.prompt_tokens, reply.completion_tokens) == (0, 0)


@pytest.mark.parametrize(
    ("said", "cached"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 64}}, 64),  # OpenAI, vLLM, SGLang
        ({"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}, 64),  # DeepSeek
        ({"cache_read_input_tokens": 64, "cache_creation_input_tokens": 0}, 64),  # Anthropic's models
        ({"prompt_tokens_details": None}, 0),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, 0),
        ({"prompt_tokens_details": {"cached_tokens": 900}}, 100),  # no more than there are
        ({}, 0),
    ],
)
async def test_cached_prompt_tokens_are_read_under_their_names(
    serve, script, completion, open_client, hello, said, cached
):
    body = completion() | {"usage": {"prompt_tokens": 100, "completion_tokens": 2} | said}
    reply = await open_client(await serve(script(body))).complete(hello)
    assert (reply.prompt_tokens, reply.cached_tokens) == (100, cached)


async def test_text_that_cannot_be_encoded_is_mended(serve, script, completion, open_client, hello):
    body = json.dumps(completion("a\ud83d b\0c \ud83d\ude00"))
    reply = await open_client(await serve(script(lambda: web.Response(text=body)))).complete(hello)
    assert reply.text == "a\ufffd b\ufffdc \U0001f600"


async def test_a_request_that_cannot_be_encoded_is_rejected_unsent(serve, script, completion, open_client):
    server = script(completion())
    bad = ChatRequest(messages=(Message.model_construct(role="user", content="a\ud83d"),))
    with pytest.raises(RequestRejectedError):
        await open_client(await serve(server)).complete(bad)
    assert not server.requests


@pytest.mark.parametrize("code", [500, 502, 503, 522, 529, 408, 409, 425, 429, 498, 499])
async def test_failures_of_the_moment_are_repeated(serve, script, completion, open_client, hello, code):
    server = script(status(code), status(code), completion())
    client = open_client(await serve(server), pacing=PacingSettings(cooldown=0.0))
    assert (await client.complete(hello)).text == "Hello."
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (500, EndpointUnavailableError),
        (503, EndpointUnavailableError),
        (408, EndpointTimeoutError),
        (429, RateLimitedError),
    ],
)
async def test_tries_are_bounded(serve, script, open_client, hello, code, error):
    server = script(status(code, '{"error": {"message": "not now"}}'))
    policy = RetryPolicy(max_tries=3, max_rate_limited=3)
    client = open_client(await serve(server), retry=policy, pacing=PacingSettings(cooldown=0.0))
    with pytest.raises(error, match=r"HTTP \d+: not now \(tried 3 times\)"):
        await client.complete(hello)
    assert len(server.requests) == 3
    assert client.pacer.errors == {error.__name__.removesuffix("Error"): 3}
    assert client.pacer.in_flight == 0


async def test_retry_after_is_waited_for(serve, script, completion, open_client, hello):
    server = script(status(503, **{"Retry-After": "7"}), status(503, **{"Retry-After": "9999"}), completion())
    client = open_client(await serve(server), timeout=60.0)
    await client.complete(hello)
    assert 7 <= client.sleeps[0] <= 7.5
    assert client.sleeps[1] == 60  # no wait is longer than a try may take


async def test_retry_after_in_milliseconds_is_understood(serve, script, completion, open_client, hello):
    server = script(status(503, **{"Retry-After-Ms": "1500", "Retry-After": "60"}), completion())
    client = open_client(await serve(server))
    await client.complete(hello)
    assert 1.5 <= client.sleeps[0] <= 2.0


async def test_a_reset_in_seconds_since_1970_does_not_stop_a_client_for_years(
    serve, script, completion, open_client, hello
):
    announced = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}
    announced["x-ratelimit-reset-requests"] = str(int(time.time()) + 10**8)
    server = script(lambda: web.json_response(completion(), headers=announced))
    client = open_client(await serve(server), timeout=0.2)
    for _ in range(4):
        await asyncio.wait_for(client.complete(hello), 60)


async def test_retry_after_of_many_429s_holds_back_all_requests(serve, script, completion, open_client, hello):
    server = script(*[status(429, **{"Retry-After": "0.3"})] * 3, completion())
    client = open_client(await serve(server))
    clock = asyncio.get_running_loop().time
    start = clock()
    for _ in range(3):
        with pytest.raises(FailedTryError):
            await client.try_once(hello)
    await client.complete(hello)
    assert clock() - start >= 0.3
    assert (client.pacer.num_rate_limited, len(server.requests)) == (3, 4)


async def test_retry_after_of_a_stray_429_holds_back_its_own_request(serve, script, completion, open_client, hello):
    server = script(status(429, **{"Retry-After": "7"}), completion())
    client = open_client(await serve(server))
    await client.complete(hello)
    assert 7 <= client.sleeps[0] <= 7.5
    assert client.pacer.limit is None


async def test_a_used_up_quota_is_not_waited_for(serve, script, open_client, hello):
    server = script(status(429, '{"error": {"message": "no money", "code": "insufficient_quota"}}'))
    with pytest.raises(RequestRejectedError, match=r"no money .*used up"):
        await open_client(await serve(server)).complete(hello)
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [400, 401, 403, 404, 413, 422, 307])
async def test_a_rejected_request_is_sent_once(serve, script, open_client, hello, code):
    server = script(status(code, json.dumps({"error": {"message": "no such thing"}}), Location="http://127.0.0.1:9/"))
    with pytest.raises(RequestRejectedError, match=f"HTTP {code}: no such thing"):
        await open_client(await serve(server)).complete(hello)
    assert len(server.requests) == 1


async def test_what_a_server_says_is_bounded_and_printable(serve, script, open_client, hello):
    said = "\x1b[31mbad\n" + "x" * 100_000
    with pytest.raises(RequestRejectedError) as info:
        await open_client(await serve(script(status(400, said)))).complete(hello)
    assert len(str(info.value)) < 500
    assert str(info.value).isprintable()


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html>",
        "[1]",
        "null",
        "{}",
        '{"choices": 3}',
        '{"choices": []}',
        '{"choices": [{}]}',
        '{"choices": [{"message": null}]}',
        '{"choices": [{"message": {"content": 3}}]}',
        '{"choices": [{"message": {"content": [{"type": "image"}]}}]}',
        '{"choices": [{"message": {"content": "a"}, "finish_reason": ["odd"]}]}',
        '{"choices": [',
        "[" * 100_000,
    ],
)
async def test_what_is_no_completion_is_malformed(serve, script, open_client, hello, body):
    server = script(lambda: web.Response(text=body))
    with pytest.raises(MalformedReplyError) as info:
        await open_client(await serve(server), retry=RetryPolicy(max_tries=2)).complete(hello)
    assert len(server.requests) == 2
    assert len(str(info.value)) < 600


async def test_an_oversized_body_is_not_read_to_its_end(serve, script, completion, open_client, hello):
    server = script(completion("x" * 5000))
    with pytest.raises(MalformedReplyError, match="larger than 1000 bytes"):
        await open_client(await serve(server), max_body_bytes=1000).complete(hello)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"choices": [', BodyTruncatedError),
        (b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{"choices', BodyTruncatedError),
        (b"HTTP/1.1 200 OK\r\nContent-Le", EndpointUnavailableError),
        (b"", EndpointUnavailableError),
        (b"220 mail.example.com ESMTP\r\n\r\n", EndpointUnavailableError),
    ],
)
async def test_broken_connections(serve_bytes, open_client, hello, answer, error):
    client = open_client(await serve_bytes(answer))
    with pytest.raises(error, match="tried 5 times"):
        await client.complete(hello)
    assert len(client.sleeps) == 4


async def test_a_refused_connection_is_unavailable(unused_tcp_port, open_client, hello):
    client = open_client(f"http://127.0.0.1:{unused_tcp_port}/v1", retry=RetryPolicy(max_tries=2))
    with pytest.raises(EndpointUnavailableError, match="tried 2 times"):
        await client.complete(hello)


async def test_a_silent_server_is_a_time_out(serve, open_client, hello):
    done = asyncio.Event()

    async def hang(_):
        await done.wait()
        return web.Response()

    client = open_client(await serve(hang), timeout=0.05, retry=RetryPolicy(max_tries=2))
    with pytest.raises(EndpointTimeoutError, match=r"within 0.05 s \(tried 2 times\)"):
        await client.complete(hello)
    done.set()


async def test_silence_is_a_time_out_of_its_own(serve_bytes, open_client, hello):
    url = await serve_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", stay_open=True)
    client = open_client(url, read_timeout=0.05, retry=RetryPolicy(max_tries=1))
    with pytest.raises(EndpointTimeoutError, match=r"silent for 0.05 s \(tried once\)"):
        await client.complete(hello)


async def test_models_share_a_connection_that_is_kept_alive(serve, script, completion, open_client, hello):
    server = script(completion())
    url = await serve(server)
    first, second = open_client(url), open_client(url)
    for client in (first, second, first):
        await client.complete(hello)
    await first.aclose()
    await second.complete(hello)
    assert len(server.peers) == 1


async def test_more_calls_are_in_flight_than_aiohttp_allows_by_default(serve, completion, open_client, hello):
    barrier = asyncio.Barrier(150)

    async def meet(_):
        await barrier.wait()
        return web.json_response(completion())

    client = open_client(await serve(meet))
    replies = await asyncio.gather(*(client.complete(hello) for _ in range(150)))
    assert len(replies) == 150


def test_a_model_serves_one_event_loop_after_another(completion, hello):
    async def once():
        async def answer(_):
            return web.json_response(completion())

        app = web.Application()
        app.router.add_post("/v1/chat/completions", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = OpenAIChatModel("m", f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        try:
            return (await client.complete(hello)).text
        finally:
            await client.aclose()
            await client.aclose()
            await runner.cleanup()

    assert [asyncio.run(once()) for _ in range(2)] == ["Hello.", "Hello."]


@pytest.mark.parametrize(
    "url",
    [
        "http://user:pa55word@host/v1",
        "https://pa55word@host/v1",
        "http://host/v1?api-key=pa55word",
        "http://h/#pa55word",
        "ftp://pa55word/",
        "http://host:pa55word/v1",
        "host/v1",
        "http://",
        "",
    ],
)
def test_a_base_url_with_secrets_or_without_a_host_is_refused(url):
    with pytest.raises(InvalidInputError) as info:
        OpenAIChatModel("m", url)
    assert "pa55word" not in str(info.value)


async def test_the_key_is_sent_and_shown_nowhere(serve, script, completion, open_client, hello, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MUSIC_API_KEY", f" {KEY}\n")
    echo = f"you sent Authorization: Bearer {KEY}"
    server = script(
        status(500, echo), lambda: web.json_response(completion(echo) | {"model": KEY}), status(400, "x" * 290 + KEY)
    )
    client = open_client(await serve(server), retry=RetryPolicy(max_tries=2))
    reply = await client.complete(hello)
    assert server.requests[0][0]["Authorization"] == f"Bearer {KEY}"
    with pytest.raises(RequestRejectedError) as rejected:
        await client.complete(hello)
    shown = f"{reply} {client!r} {client.name} {rejected.value!r} {caplog.text}"
    assert KEY[:10] not in shown


@pytest.mark.parametrize("code", [401, 429, 500, 200])
async def test_an_echoed_key_is_redacted_from_errors(serve, script, open_client, hello, monkeypatch, code):
    monkeypatch.setenv("MUSIC_API_KEY", KEY)
    server = script(status(code, json.dumps({"error": {"message": f"bad key {KEY}"}})))
    policy = RetryPolicy(max_tries=2, max_rate_limited=1)
    with pytest.raises((RequestRejectedError, RateLimitedError, EndpointUnavailableError, MalformedReplyError)) as info:
        await open_client(await serve(server), retry=policy).complete(hello)
    assert "bad key [redacted]" in str(info.value)
    assert KEY not in f"{info.value!r} {info.value.__cause__!r} {info.value.__context__!r}"
