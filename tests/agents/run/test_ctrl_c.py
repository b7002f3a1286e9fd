"""Ctrl-C, sent for real to the real command: the first one ends waiting, the second one ends the process."""

import json
import os
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SOON = 15.0
"""Seconds that nothing here takes unless it waits for what never comes; the machine may be busy."""


class Bad(BaseHTTPRequestHandler):
    """Limits whoever asks under /limited, is down under /down, and never answers under /hang."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        how = self.path.split("/")[1]
        self.server.asked.release()
        if how == "hang":
            self.server.done.wait()
            return
        self.send_response({"limited": 429, "down": 503}[how])
        self.send_header("Retry-After", "3000")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bad)
    server.daemon_threads = True
    server.asked, server.done = threading.Semaphore(0), threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.done.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def start():
    """Start the command with all roles at one endpoint; killed with the test if it is still there."""
    processes = []

    def start_(endpoint, *flags, command=("simulate", "sandbox")):
        shell = [sys.executable, "-c", "from music.cli import main; main()", *command]
        roles = [f"--{role}={endpoint}" for role in ("user", "assistant", "contrast")] if "simulate" in command else []
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipe = subprocess.PIPE
        process = subprocess.Popen([*shell, *roles, *flags], stdout=pipe, stderr=pipe, text=True, env=env)
        processes.append(process)
        return process

    yield start_
    for process in processes:
        process.kill()
        process.communicate()


def endpoint(server, how):
    return f"m@http://127.0.0.1:{server.server_port}/{how}/v1"


def interrupt(process):
    """Press Ctrl-C, and wait for the end."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SOON)
    assert "Traceback" not in err, err
    return process.returncode, out, err


@pytest.mark.parametrize("flags", [[], ["--processes=2"]], ids=["one process", "two processes"])
@pytest.mark.parametrize("how", ["limited", "down"])
def test_the_first_one_ends_all_waiting(server, start, tmp_path, how, flags):
    """In the pacer after a 429, and in back-off after a 503: both for 300 s, as long as a try may take."""
    # Without patience the probe before the first pair reports a server that is down.
    process = start(endpoint(server, how), f"--out={tmp_path}", "--max-in-flight=8", "--patience=600", *flags)
    for _ in range(8):
        assert server.asked.acquire(timeout=60)
    code, out, _ = interrupt(process)
    assert code == 130
    assert out.startswith("interrupted: ")
    report = json.loads((tmp_path / "run.json").read_bytes())
    assert (report["status"], report["failures"]) == ("interrupted", {})


@pytest.mark.parametrize("flags", [[], ["--processes=2"]], ids=["one process", "two processes"])
def test_the_second_one_ends_a_run_whose_server_hangs(server, start, tmp_path, flags):
    process = start(endpoint(server, "hang"), f"--out={tmp_path}", "--max-in-flight=4", *flags)
    for _ in range(4):
        assert server.asked.acquire(timeout=60)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2.0)  # calls in flight are waited for
    code, _, err = interrupt(process)
    assert code == 130
    assert err.rstrip().endswith("interrupted")


SLOW = """
import time
from music.llm.local import LocalChatModel
from music.cli import main

LocalChatModel.__init__ = lambda self, path, *_: vars(self).update(
    _name="local:" + path, _is_stopped=False, _batchers={}
)

def sleep(self, requests):
    print("asked", flush=True)
    time.sleep(3600)

LocalChatModel._prompt = sleep
main()
"""


def test_the_second_one_ends_a_model_in_this_process_in_the_middle_of_a_reply(tmp_path):
    """The thread of local models cannot be cancelled, and Python waits for it at its end."""
    roles = [f"--{role}=local:x" for role in ("user", "assistant", "contrast")]
    command = [sys.executable, "-c", SLOW, "simulate", "sandbox", f"--out={tmp_path}", *roles]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env) as process:
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        assert interrupt(process)[0] == 130


def test_one_is_enough_while_seeds_are_read(start, tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    os.mkfifo(seeds)
    process = start("sandbox", f"--out={tmp_path / 'out'}", command=("simulate", str(seeds)))
    with seeds.open("w"):  # opens once the command reads it
        code, _, err = interrupt(process)
    assert code == 130
    assert err.rstrip().endswith("interrupted")


PAIR = {
    side: [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": text}]
    for side, text in (("chosen", "Hello"), ("rejected", "No"))
}


@pytest.mark.parametrize("command", ["best-of-n", "evaluate"])
def test_other_commands_end_at_the_first_one(server, start, tmp_path, command):
    """Players and judges that wait for a server which never answers."""
    hanging, rows = endpoint(server, "hang"), tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(PAIR) + "\n")
    arguments = {
        "best-of-n": ["--reward=length", f"--assistant={hanging}", "--num-conversations=4"],
        "evaluate": ["preferences", str(rows), f"--model=judge:{hanging}"],
    }
    process = start(hanging, *arguments[command], command=(command,))
    assert server.asked.acquire(timeout=60)
    code, _, err = interrupt(process)
    assert code == 130
    assert "interrupted" in err


STUCK = """
import atexit, time
from music.cli import shell

def stuck():
    atexit.register(time.sleep, 3600)
    try:
        print("stuck", flush=True)
        time.sleep(3600)
    finally:
        time.sleep(3600)

class Found:
    name, value = "stuck", "here:stuck"
    load = staticmethod(lambda: stuck)

shell.EntryPoint = Found
shell.metadata.entry_points = lambda group: [Found()]
shell.main()
"""


def test_the_second_one_ends_any_command_whatever_hangs(start):
    pipe = subprocess.PIPE
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", STUCK, "stuck"]
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env) as process:
        assert process.stdout.readline() == "stuck\n"
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)
        assert interrupt(process)[0] == 130
