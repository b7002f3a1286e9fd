"""The server over loopback: whom it answers, with which headers, and how it starts and ends."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from music.errors import InvalidInputError
from music.viewer.app import HEADERS
from music.viewer.config import ViewerConfig
from music.viewer.server import require_host, view
from tests.viewer.conftest import pair_of, serving, write_lines

COMMAND = "import sys; from music.cli.shell import build_shell; from importlib.metadata import EntryPoint as E; "
COMMAND += "build_shell([E('view', 'music.viewer.cli:view', 'music.commands')]).main(prog_name='music')"


@contextmanager
def viewing(*arguments):
    """Run `music view`; yield the process and its address."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", COMMAND, "view", *map(str, arguments), "--port", "0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env, start_new_session=True) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture(scope="module")
def served(shown):
    with serving(shown[1]) as url:
        yield url


def ask(url, path="/", method="GET", **headers):
    """Send a request exactly so; return status, headers and text."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    with connection.getresponse() as response:
        return response.status, response.headers, response.read().decode()


def test_pages_come_with_strict_headers(served):
    for path in ("/", "/record/none", "/status", "/nowhere", "/?kind=", "/%00"):
        _, headers, _ = ask(served, path)
        assert {name: headers[name] for name in HEADERS} == HEADERS, path
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8400", "[bad", "", "localhost.evil"]
)
def test_other_hosts_are_refused(served, host):
    status, _, text = ask(served, Host=host)
    assert status in (400, 403)
    assert "Count" not in text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:99", "127.0.0.1", "[::1]:80"])
def test_loopback_hosts_are_answered(served, host):
    assert ask(served, Host=host)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../server.py",
        "/assets/..%2fserver.py",
        "/assets/%2e%2e/server.py",
        "/assets/viewer.css/../../cli.py",
        "/assets//etc/passwd",
        "/record/../../etc/passwd",
        "/record/..%2f..%2fetc%2fpasswd",
        "/..%5c..%5cetc",
        "/etc/passwd",
    ],
)
def test_no_address_reaches_the_file_system(served, path):
    status, _, text = ask(served, path)
    assert status == 404
    assert "Nothing here" in text


def test_only_get_is_answered(served):
    assert ask(served, "/", method="POST")[0] == 405


def test_assets_change_their_address_with_their_content(served):
    page = ask(served)[2]
    path = page.partition('href="/assets/viewer.css')[2].partition('"')[0]
    status, headers, text = ask(served, "/assets/viewer.css" + path)
    assert (status, headers.get_content_type()) == (200, "text/css")
    assert "immutable" in headers["Cache-Control"]
    assert ":root" in text


def test_a_form_with_empty_fields_leads_to_the_short_address(served):
    status, headers, _ = ask(served, "/?q=&kind=pair&set=&sort=file")
    assert (status, headers["Location"]) == (303, "/?kind=pair")


def test_filters_and_the_search_are_in_every_link(served):
    page = ask(served, "/?q=later&kind=pair&sort=gap")[2]
    link = page.partition('class="record" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert link.endswith("?q=later&kind=pair&sort=gap")
    record = ask(served, link)[2]
    assert 'rel="next"' in record
    assert record.count("kind=pair&amp;sort=gap") >= 2
    assert "<mark class=found>Later</mark>" in page


def test_more_pages(served):
    page = ask(served, "/?page=3")[2]
    assert "101–125 of <b>125</b>" in page
    assert ask(served, "/?page=99")[0] == 200


def test_status_counts(served):
    assert json.loads(ask(served, "/status")[2]) == {"num_records": 125, "is_whole": True}


def test_other_addresses_need_insecure():
    with pytest.raises(InvalidInputError, match=r"--host 0.0.0.0: others can reach .* --insecure"):
        require_host(ViewerConfig(host="0.0.0.0"))
    require_host(ViewerConfig(host="0.0.0.0", insecure=True))
    require_host(ViewerConfig(host="::1"))


def test_a_taken_port_is_one_line(served, tmp_path):
    port = urlsplit(served).port
    with pytest.raises(InvalidInputError, match=f"cannot listen on 127.0.0.1:{port}: .* give another --port"):
        view([str(tmp_path)], ViewerConfig(port=port))


def test_the_command_shows_a_growing_file_and_ends_with_ctrl_c(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_lines(path, pair_of(0))
    with viewing(path) as (process, url):
        assert "Now?" in ask(url)[2]
        write_lines(path, pair_of(1))
        while json.loads(ask(url, "/status")[2])["num_records"] < 2:
            assert process.poll() is None
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        assert children
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) in [(0, ""), (130, "")]
    assert "Traceback" not in errors
    assert not any(os.path.exists(f"/proc/{child}") for child in children)


def test_a_wrong_name_ends_the_command_in_one_line(tmp_path):
    with viewing(tmp_path / "none.jsonl") as (process, url):
        errors = process.communicate(timeout=60)[1]
    assert (process.returncode, url) == (1, "")
    (line,) = errors.splitlines()
    assert "expected a file of pairs or a folder; there is nothing there" in line


def test_a_second_start_reads_nothing_again(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_lines(path, pair_of(0))
    with viewing(path) as (_, url):
        first = ask(url)[2]
    with viewing(path) as (_, url):
        assert ask(url)[2].partition("<ol")[2] == first.partition("<ol")[2]
