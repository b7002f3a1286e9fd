"""Checks a release as a newcomer meets it: builds it, installs the wheel, and runs what the first pages show.

`python -m tools.release_check --out FOLDER` builds the source distribution and from it the wheel. It installs the wheel
outside the checkout, with an empty HOME, and runs there every command of README.md, docs/start-here.md and
docs/first-hour.md that needs no GPU, key or network. Each page has an empty folder. The sandbox's models replace those
that the README names (`SUBSTITUTES`). Every command is printed with its time and exit status, and the first that fails
ends the check. Another run with the same FOLDER keeps what pip installed.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

from tools.snippets import free_port, is_server, on_free_ports, snippets, steps, with_port

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/start-here.md", "docs/first-hour.md")
INSTALLED = ("git clone ", "source .venv/bin/activate")
"""Beginnings of commands that get the package; the check has installed it."""
SUBSTITUTES = {
    "make demo ": "music demo --quick --out runs/demo ",
    "gemma-2-9b-it@http://127.0.0.1:8000/v1": "m@http://127.0.0.1:8000/v1",
    "google/gemma-2-9b-it": "sandbox",
}
SANDBOX_PORTS = ("8000", "8123")
"""Where the README expects an endpoint: `music sandbox serve` answers there."""
COUNTS = ("a tip", "two tips", "three tips")
TOPICS = ("hiking", "camping", "pasta", "lawn", "tomato", "bread", "orchid", "rose")
"""Of the prompts in `prompts.jsonl`: enough that `music train` can hold some out."""
LAST_LINE = "-- exit "


def main() -> None:
    """Build, install, and run the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="Folder outside the checkout; by default a temporary one.")
    out = (parser.parse_args().out or Path(mkdtemp(prefix="music-release-"))).resolve()
    if out.is_relative_to(ROOT):
        sys.exit(f"--out {out}: expected a folder outside the checkout, which would hide a file that the wheel lacks")
    print(f"in {out}")
    for name in ("dist", "home", *(Path(page).stem for page in PAGES)):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
    environment = bare_environment(out)
    install(build(out / "dist"), out / "venv", environment)
    for page in PAGES:
        run_page(ROOT / page, out / Path(page).stem, environment)
    print(f"all commands of {', '.join(PAGES)} passed")


def bare_environment(out: Path) -> dict[str, str]:
    """Return the environment of a fresh user: an empty HOME, the new environment's programs first, no PYTHONPATH."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "HF_"))}
    path = os.pathsep.join([str(out / "venv/bin"), kept["PATH"]])
    return kept | {"HOME": str(out / "home"), "PATH": path, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


def build(folder: Path) -> Path:
    """Build the source distribution and the wheel from it; return the wheel."""
    call([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)], ROOT)
    (source,) = folder.glob("*.tar.gz")
    shutil.unpack_archive(source, folder)
    call(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", ".."], folder / source.name[: -len(".tar.gz")]
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path, environment: dict[str, str]) -> None:
    """Install the wheel with the extra of `music rl`, torch first, in the versions of constraints.txt."""
    if not folder.exists():
        call([sys.executable, "-m", "venv", str(folder)], folder.parent)
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--constraint", str(ROOT / "constraints.txt")]
    call([*pip, "torch"], folder.parent, environment)
    call([*pip, f"{wheel}[trl]"], folder.parent, environment)
    call([*pip, "--force-reinstall", "--no-deps", str(wheel)], folder.parent, environment)


def call(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
    """Run a command of the check itself."""
    start = time.monotonic()
    print(f"\n$ {' '.join(command)}", flush=True)
    status = subprocess.run(command, cwd=folder, env=environment, check=False).returncode
    finish(status, start)


def finish(status: int, start: float) -> None:
    """Print how a command ended; end the check if it failed."""
    print(f"{LAST_LINE}{status}, {time.monotonic() - start:.1f} s", flush=True)
    if status:
        sys.exit("error: the command above failed")


def run_page(page: Path, folder: Path, environment: dict[str, str]) -> None:
    """Run the commands of a page in order, in one shell."""
    print(f"\n== {page.relative_to(ROOT)}")
    write_files(folder)
    ports: dict[str, str] = {}
    with Shell(folder, environment) as shell:
        if any(port in page.read_text(encoding="utf-8") for port in SANDBOX_PORTS):
            ports |= dict.fromkeys(SANDBOX_PORTS, free_port())
            shell.run(f"music sandbox serve --port {ports[SANDBOX_PORTS[0]]}")
        for command in commands(page):
            text = on_free_ports(command, ports)
            shell.run(with_port(text.removesuffix(" &"), ports) if is_server(text) else text)


def write_files(folder: Path) -> None:
    """Write the user's own files of which the README speaks: `prompts.jsonl` and `held_out.jsonl`."""
    prompts = [{"prompt": f"Can I get {count} for {topic} safety?"} for count in COUNTS for topic in TOPICS]
    rows = {"prompts": prompts, "held_out": [{"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}]}
    for name, each in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each), encoding="utf-8")


def commands(page: Path) -> Iterator[str]:
    """Yield the commands of a page that run here, substituted; print what is left out."""
    for needs, language, text in snippets(page):
        if needs:
            print(f"not run, needs {needs}: {text.splitlines()[0]} ...")
        elif language == "python":
            yield f"python - <<'END'\n{text}END"
        else:
            for command, _ in steps(text):
                if command.startswith(INSTALLED):
                    print(f"not run, is installed: {command}")
                else:
                    yield substitute(command)


def substitute(command: str) -> str:
    """Replace what needs a GPU or a key; print each replacement."""
    for old, new in SUBSTITUTES.items():
        if old in command:
            print(f"replaced: {old.strip()} -> {new.strip()}")
            command = command.replace(old, new)
    return command


class Shell:
    """A bash process, in which a page's folder, variables and servers live until the page ends."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Start in `folder`."""
        self._process = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the shell and its servers."""
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()

    def run(self, command: str) -> None:
        """Run a command; of a server, wait for its first line and leave it running."""
        assert self._process.stdin
        assert self._process.stdout
        start = time.monotonic()
        print(f"\n$ {command}", flush=True)
        if is_server(command):
            command = f"exec {{server}}< <({command}\n)\nIFS= read -r line <&$server && echo $line"
        self._process.stdin.write(f"{{ {command}\n}} </dev/null\necho '{LAST_LINE}'$?\n")
        self._process.stdin.flush()
        status = None
        for line in self._process.stdout:
            if line.startswith(LAST_LINE):
                status = int(line.removeprefix(LAST_LINE))
                break
            print(line, end="")
        finish(1 if status is None else status, start)


if __name__ == "__main__":
    main()
