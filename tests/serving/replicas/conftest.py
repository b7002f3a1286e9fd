"""A Ray cluster of two nodes on loopback, and `music serve --ray` on it with two replicas, each on its own node."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from music.reward import RewardModel

LIMITS = {"max_body": 20_000, "max_conversations": 50}


@pytest.fixture(scope="session")
def checkpoint(reward_checkpoint, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("served") / "first"
    RewardModel.from_pretrained(reward_checkpoint(), device="cpu").save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def model(checkpoint) -> RewardModel:
    return RewardModel.from_pretrained(checkpoint, device="cpu")


@pytest.fixture(scope="session")
def address():
    from ray import cluster_utils

    # Loopback, but not 127.0.0.1: Ray takes that for whatever address the machine has to others.
    node = {"num_cpus": 1, "node_ip_address": "127.0.0.2"}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    cluster.add_node(**node)
    yield cluster.address
    cluster.shutdown()


class Server:
    """`music serve --ray` in its own process."""

    limits = LIMITS

    def __init__(self, checkpoint: Path, address: str) -> None:
        limits = [f"--{name.replace('_', '-')}={value}" for name, value in LIMITS.items()]
        flags = ["--ray", "--replicas=2", "--port=0", f"--reload-from={checkpoint.parent}", *limits]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "music", "serve", str(checkpoint), *flags],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "RAY_ADDRESS": address, "RAY_USAGE_STATS_ENABLED": "0"},
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.process.wait()

    def ask(self, path, body=None, method=None):
        """Return the status, the headers and the body of an answer."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    def post(self, path, body):
        """Return the answer to a request that must succeed, and the replica that gave it."""
        status, headers, answer = self.ask(path, body)
        assert status == 200, answer
        return json.loads(answer), headers["X-Music-Replica"]

    def replicas(self):
        """Return the number of tokens that each replica computed, by its name."""
        lines = self.ask("/metrics")[2].decode().splitlines()
        counts = [line.split('replica="')[1] for line in lines if line.startswith("music_computed_tokens_total")]
        rows = dict(count.split('"} ') for count in counts)
        return {name: float(count) for name, count in rows.items() if name != "front"}


@pytest.fixture(scope="session")
def server(checkpoint, address):
    server = Server(checkpoint, address)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)


@pytest.fixture
def workers():
    """Return what lists the processes of the replicas."""
    return lambda: [each for each in psutil.process_iter(["name"]) if each.info["name"].startswith("ray::ServeReplica")]
