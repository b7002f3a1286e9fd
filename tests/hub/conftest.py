"""A small hub on this machine: the part of the real hub's interface that an upload uses."""

import base64
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from huggingface_hub import constants

TOKEN = "hf_of_nobody"


class Hub:
    """What the server has received.

    Attributes:
        repos: Whether each repository is private, by type and id.
        files: The content of the files, by repository and name.
        commits: The summaries of the commits.
        unknown: Requests that it does not know.
    """

    def __init__(self):
        self.repos, self.files, self.commits, self.unknown, self.refuses = {}, {}, [], [], 0


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body):
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def body(self):
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def do_GET(self):
            self.route(b"")

        def do_POST(self):
            self.route(self.body())

        def route(self, body):
            path = self.path.partition("?")[0]
            url = f"http://{self.headers['Host']}"
            if hub.refuses or self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self.answer(hub.refuses or 401, {"error": "no access"})
            if path == "/api/repos/create":
                asked = json.loads(body)
                kind = asked.get("type", "model")
                name = f"{asked.get('organization') or 'me'}/{asked['name']}"
                address = f"{url}/{'datasets/' if kind == 'dataset' else ''}{name}"
                if (kind, name) in hub.repos:
                    return self.answer(409, {"error": "exists", "url": address})
                is_private = asked.get("private", False) or asked.get("visibility") == "private"
                hub.repos[kind, name] = is_private
                return self.answer(200, {"url": address})
            if path == "/api/validate-yaml":
                return self.answer(200, {"errors": [], "warnings": []})
            if found := re.fullmatch(r"/api/(model|dataset)s/(\w+/[\w-]+)(?:/(\w+)/main)?", path):
                kind, name, what = found.groups()
                if what == "preupload":
                    files = [each["path"] for each in json.loads(body)["files"]]
                    modes = [{"path": each, "uploadMode": "regular", "shouldIgnore": False} for each in files]
                    return self.answer(200, {"files": modes})
                if what == "commit":
                    return self.answer(200, self.commit(name, body, url))
                if what in (None, "revision"):
                    info = {"id": name, "private": hub.repos[kind, name], "sha": 40 * "0", "siblings": [], "tags": []}
                    return self.answer(200, info)
            hub.unknown.append(f"{self.command} {self.path}")
            return self.answer(404, {"error": "unknown"})

        def commit(self, name, body, url):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "header":
                    hub.commits.append(line["value"]["summary"])
                else:
                    hub.files[name, line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return {"success": True, "commitUrl": f"{url}/{name}/commit/{40 * '1'}", "commitOid": 40 * "1"}

    return Handler


@pytest.fixture
def hub(monkeypatch):
    """Serve a hub, and let the client use it with a token."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield hub
    server.shutdown()
    server.server_close()
