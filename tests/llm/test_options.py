import pytest

from music.errors import InvalidInputError
from music.llm import Connection, RequestOptions, Sampling, parse_options

ROLES = ("user", "assistant", "judge")


def read(*options, **more):
    return parse_options(options, ROLES, apart=("judge",), **more)


def test_every_key_is_read_as_what_it_is():
    found = parse_options(
        [
            "temperature=0.5",
            "top_p=0.9",
            "stop=END",
            "seed=false",
            "max_tokens=64",
            "max_tokens_field=max_completion_tokens",
            "extra_body.top_k=20",
            "extra_body.chat_template_kwargs.enable_thinking=false",
            'extra_body.provider.order=["a", "b"]',
            "extra_body.tag=plain words",
            "headers.X-Title=1.10",
            "query.api-version=2024-10-21",
        ]
    )[""]
    assert found.sampling == Sampling(
        temperature=0.5,
        top_p=0.9,
        max_tokens=64,
        stop=("END",),
        sends_seed=False,
        extra_body={
            "top_k": 20,
            "chat_template_kwargs": {"enable_thinking": False},
            "provider": {"order": ["a", "b"]},
            "tag": "plain words",
        },
    )
    assert found.connection.header_values() == {"X-Title": "1.10"}
    assert found.connection.query_values() == {"api-version": "2024-10-21"}
    assert found.connection.max_tokens_field == "max_completion_tokens"


def test_a_role_has_its_own_over_those_of_all_and_the_later_option_wins():
    found = read(
        "temperature=0.3",
        "extra_body.a=1",
        "user.temperature=0.9",
        "user.extra_body.b=2",
        "user.top_p=0.4",
        "user.top_p=0.5",
    )
    assert found["user"] == RequestOptions(temperature=0.9, top_p=0.5, extra_body={"a": 1, "b": 2})
    assert found["assistant"] == found[""] == RequestOptions(temperature=0.3, extra_body={"a": 1})


def test_a_role_that_stands_apart_takes_what_shapes_a_text_from_its_own_alone():
    found = read("temperature=0.3", "max_tokens=9", "stop=X", "seed=false", "headers.X-A=1", "judge.top_p=0.5")
    assert found["judge"] == RequestOptions(seed=False, headers={"X-A": "1"}, top_p=0.5)


def test_whole_groups_and_roles_are_json_objects_as_tables_of_a_file_are_written():
    found = read('user={"temperature": 0.5, "headers": {"X-A": "1"}, "stop": ["\\n"]}', 'extra_body={"a": {"b": 1}}')
    assert found["user"] == RequestOptions(
        temperature=0.5, headers={"X-A": "1"}, stop=("\n",), extra_body={"a": {"b": 1}}
    )
    assert read('stop=["a", "b"]')[""].stop == ("a", "b")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("temperature", "expected KEY=VALUE or ROLE.KEY=VALUE"),
        ("temperature=hot", "temperature: "),
        ("user.temperature=-1", "user.temperature: "),
        ("top_p=0", "top_p: "),
        ("temprature=1", "temprature: expected one of the keys extra_body, headers"),
        ("temprature=1", "; did you mean 'temperature'?"),
        ("usr.temperature=1", "after one of the roles user, assistant, judge or none; did you mean 'user'?"),
        ("extra_body.stream=true", "expected fields that requests do not set already, got stream"),
        ('user.extra_body={"n": 2, "messages": [], "top_k": 3}', "requests do not set already, got messages, n"),
        ("headers=X", "expected headers.NAME=VALUE"),
        ("user=1", "expected user.NAME=VALUE"),
        ("seed=perhaps", "seed: "),
        ("headers.X-A=a\nb", "printable ASCII"),
        ("headers.X A=a", "printable ASCII"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(option, words):
    with pytest.raises(InvalidInputError) as info:
        read(option)
    assert str(info.value).startswith("--option ")
    assert words in str(info.value)


def test_a_short_form_is_the_option_for_all_and_both_at_once_are_refused():
    flags = {"--temperature": ("temperature", 0.7)}
    found = read("user.temperature=0.1", flags=flags)
    assert [found[role].temperature for role in ("user", "assistant", "judge")] == [0.1, 0.7, None]
    with pytest.raises(InvalidInputError, match="expected this or --temperature, got both"):
        read("temperature=1", flags=flags)
    assert read("temperature=1", flags={"--temperature": ("temperature", None)})[""].temperature == 1


def test_secrets_are_shown_nowhere_and_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("PASS_KEY", " from-the-environment ")
    options = read("headers.X-Pass=hunter2hunter2", "query.sig=env:PASS_KEY", "query.v=1")[""]
    connection = options.connection
    assert connection.query_values() == {"sig": "from-the-environment", "v": "1"}
    assert sorted(connection.secrets()) == ["from-the-environment", "hunter2hunter2"]
    shown = f"{options!r} {connection} {options.model_dump()} {connection.model_dump_json()}"
    assert "hunter2" not in shown


def test_a_variable_that_is_not_set_is_named():
    with pytest.raises(InvalidInputError, match=r"headers\.X-A=env:NO_SUCH_VARIABLE: expected that variable"):
        Connection(headers={"X-A": "env:NO_SUCH_VARIABLE"}).header_values()
