import subprocess
import sys

import pytest
from yarl import URL

from music.errors import InvalidInputError
from music.llm.connection import find_api_key, redact


@pytest.mark.parametrize(
    ("url", "variables", "sent"),
    [
        ("https://api.openai.com/v1", {"OPENAI_API_KEY": "o"}, "o"),
        ("https://api.openai.com/v1", {"OPENAI_API_KEY": "o", "MUSIC_API_KEY": "m"}, "m"),
        ("https://api.other.com/v1", {"OPENAI_API_KEY": "o"}, None),
        ("http://api.openai.com/v1", {"OPENAI_API_KEY": "o"}, None),
        ("https://api.openai.com.evil.com/v1", {"OPENAI_API_KEY": "o"}, None),
        ("https://api.other.com/v1", {"MUSIC_API_KEY": "m"}, "m"),
        ("https://api.other.com/v1", {"MUSIC_API_KEY": "m", "MUSIC_API_KEY_API_OTHER_COM": "h"}, "h"),
        ("https://api.third.com/v1", {"MUSIC_API_KEY_API_OTHER_COM": "h"}, None),
        ("http://10.0.0.5:8000/v1", {"MUSIC_API_KEY": "m"}, None),
        ("http://10.0.0.5:8000/v1", {"MUSIC_API_KEY_10_0_0_5": "h"}, "h"),
        ("http://127.0.0.1:8000/v1", {"MUSIC_API_KEY": "m"}, "m"),
        ("http://127.0.0.1.evil.com/v1", {"MUSIC_API_KEY": "m"}, None),
        ("http://localhost/v1", {"MUSIC_API_KEY": "m"}, "m"),
        ("http://[::1]:8000/v1", {"MUSIC_API_KEY": "m"}, "m"),
        ("https://api.other.com/v1", {"MUSIC_API_KEY": "  "}, None),
    ],
)
def test_a_key_goes_to_the_host_it_is_meant_for(monkeypatch, url, variables, sent):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    key = find_api_key(URL(url))
    assert key.get_secret_value() == (sent or "")
    assert sent is None or sent not in str(key)


def test_a_key_that_no_header_can_carry_is_refused_unshown(monkeypatch):
    monkeypatch.setenv("MUSIC_API_KEY", "sk-abc\ndef")
    with pytest.raises(InvalidInputError, match="MUSIC_API_KEY") as info:
        find_api_key(URL("https://api.other.com/v1"))
    assert "abc" not in str(info.value)


def test_a_placeholder_key_does_not_change_replies():
    assert redact("The set is EMPTY.", ["EMPTY"]) == "The set is EMPTY."


def test_settings_import_no_http_library():
    script = "import sys\nfrom music.llm import ClientSettings\nassert 'aiohttp' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
