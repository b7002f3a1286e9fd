import pytest

from music.errors import InvalidInputError
from music.llm import ChatModel, load_model, register_model_scheme
from music.sandbox.model import SandboxModel


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        ("m@http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1/chat/completions"),
        ("org/model:free@https://host/api/v1/", "https://host/api/v1/chat/completions"),
        ("m@2026@HTTPS://host/v1", "https://host/v1/chat/completions"),
        ("a@http://x@https://host/v1", "https://host/v1/chat/completions"),
    ],
)
def test_a_server_is_written_model_at_url(spec, url):
    model = load_model(spec)
    assert model.name == spec
    assert str(model._endpoint.url) == url


async def test_the_sandbox_answers_in_process(hello):
    for spec in ("sandbox", "sandbox:weak"):
        model: ChatModel = load_model(spec)
        assert isinstance(model, SandboxModel)
        assert (await model.complete(hello)).text
    assert load_model("sandbox").name != load_model("sandbox:weak").name


@pytest.mark.parametrize(
    "spec", ["", "gpt-4o", "http://host/v1", "@http://host/v1", "m@host/v1", "local", "local:", "sandbox:", "sandbox@x"]
)
def test_anything_else_is_refused_with_the_forms(spec):
    with pytest.raises(InvalidInputError) as info:
        load_model(spec)
    assert all(form in str(info.value) for form in ("MODEL@BASE_URL", "local:PATH_OR_HUB_ID", "sandbox:SKILL"))


def test_an_unknown_skill_of_the_sandbox_is_refused_with_the_skills_that_there_are():
    with pytest.raises(InvalidInputError, match=r"a skill of perfect, good, fair, weak; did you mean 'perfect'\?"):
        load_model("sandbox:perfct")


@pytest.fixture
def no_hub(monkeypatch):
    """Fail whatever asks the hub."""

    def ask(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", ask)
    monkeypatch.setattr("music.names.urlopen", ask)


@pytest.mark.parametrize("path", ["./nope", "/nope", "../nope/model", "nope/deep/model", "runs/modl", "m.gguf/"])
def test_a_local_path_that_is_not_there_never_goes_to_the_hub(path, no_hub, tmp_path, monkeypatch):
    (tmp_path / "runs" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInputError, match=f"{path}: there is no such folder") as info:
        load_model(f"local:{path}")
    assert ("did you mean 'runs/model'?" in str(info.value)) == (path == "runs/modl")


def test_a_look_up_on_the_hub_is_reported(no_hub, caplog, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("music.names.urlopen", unreachable)
    caplog.set_level("INFO")
    with pytest.raises(InvalidInputError, match=r"cannot be reached \(no network\)"):
        load_model("local:owner/model")
    assert "owner/model: there is no such folder, looking for it on the Hugging Face hub" in caplog.text


@pytest.mark.parametrize(
    "spec", ["m@http://user:pa55word@host/v1", "http://user:pa55word@host/v1", "@http://u:pa55word@h"]
)
def test_a_password_in_a_spec_is_refused_unshown(spec):
    with pytest.raises(InvalidInputError) as info:
        load_model(spec)
    assert "pa55word" not in str(info.value)


def test_servers_of_one_model_are_listed_as_replicas():
    model = load_model("m@http://a/v1, m@http://b/v1")
    assert model.name == "m@http://a/v1,m@http://b/v1"
    assert [endpoint.name for endpoint in model.endpoints] == model.name.split(",")
    alone = load_model("m@http://a/v1")
    assert list(alone.endpoints) == [alone]


@pytest.mark.parametrize(
    "spec", ["sandbox,m@http://a/v1", "m@http://a/v1,sandbox", "m@http://a/v1,", "m@http://a/v1,b"]
)
def test_only_servers_can_be_replicas(spec):
    with pytest.raises(InvalidInputError, match="MODEL@BASE_URL in each part"):
        load_model(spec)


def test_a_replica_is_listed_once():
    with pytest.raises(InvalidInputError, match="each listed once"):
        load_model("m@http://a/v1,m@http://a/v1")


def test_a_scheme_of_ones_own_is_loaded_by_name(monkeypatch):
    monkeypatch.setattr("music.llm.endpoints._SCHEMES", {})
    register_model_scheme("mine", "music.sandbox.model:SandboxModel")
    assert load_model("mine:weak").name == "sandbox:weak"
    with pytest.raises(InvalidInputError, match="expected MODEL@BASE_URL"):
        load_model("mine:")
