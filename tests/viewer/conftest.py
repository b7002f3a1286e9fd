"""Files to view: pairs of the sandbox, and one of each other kind."""

import asyncio
import json
import shutil
import tempfile
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from queue import Queue
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web

from music.pairs import ContrastivePair
from music.viewer.app import build_app
from music.viewer.database import connect
from music.viewer.index import Index
from music.viewer.indexing import IndexWriter
from music.viewer.label_handlers import LabelForms
from music.viewer.labels import LabelStore
from music.viewer.scoring import Scorers

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
PAYLOAD = '"><img src=x onerror="document.title=\'pwned\'"><script>document.title="pwned"</script>'
"""A text that would run in a page that does not escape it."""


def said(*texts):
    """Return messages of a user and an assistant in turns."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def simulated(id, chosen, rejected, **fields):
    """Return a row of `music simulate`."""
    contrast = {"turn": 1, "strategy": "instruction", "modified_instruction": "Name a stone.", "parameters": {"k": 2}}
    row = {"id": id, "chosen": chosen, "rejected": rejected, "source": "made", "seed_id": f"seed-{id}"}
    row |= {"num_seed_messages": 0, "contrasts": [contrast], "models": {"user": "sandbox"}, "seed": 0}
    row |= {"usage": {"num_calls": 3, "prompt_tokens": 4, "completion_tokens": 5}}
    return ContrastivePair.model_validate(
        row | {side: {"messages": row[side]} for side in ("chosen", "rejected")} | fields
    ).to_row()


FRUIT = simulated(
    "fruit",
    said("Name a fruit.", "An apple.", "And another?", "A ripe pear, say.", "Thanks.", "My pleasure."),
    said("Name a fruit.", "An apple.", "And another?", "A grey stone, say.", "Thanks.", "My pleasure."),
)
ROLLOUT = {
    "index": 3,
    "messages": said("Name a bird.", "A wren."),
    "stop_reason": "turn_limit",
    "grade": 0.5,
    "decisions": [
        {
            "num_messages": 1,
            "candidates": [said("", "A bat.")[1:], said("", "A wren.")[1:]],
            "scores": [-1.25, 2.5],
            "chosen": 1,
        }
    ],
}
FAILURE = {
    "index": 7,
    "id": "music-0-000007",
    "seed_id": "s7",
    "reason": "empty_reply",
    "detail": "the assistant said nothing",
    "role": "assistant",
    "turn": 2,
    "text": "<think>hm",
    "attempts": ["empty_reply"],
}
ITEM = {
    "id": "item",
    "prompt": "Name a tree.",
    "chosen": ["An oak."],
    "rejected": ["A cat.", "A dog."],
    "subset": "facts",
}


@pytest.fixture
def folder(tmp_path):
    """Return a folder with files of every kind."""
    return write_folder(tmp_path / "runs")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return a folder with files of every kind and its index, for tests that change neither."""
    folder = write_folder(tmp_path_factory.mktemp("shown") / "runs")
    return folder, index_of(folder.parent / "index.sqlite", folder)


def write_folder(folder):
    """Write files of every kind to a folder, and return it."""
    write_table(folder / "pairs" / "pairs-00000.parquet", FRUIT, *map(pair_of, range(120)))
    write_lines(folder / "pairs" / "failures.jsonl", FAILURE)
    write_lines(folder / "bon" / "reward.jsonl", ROLLOUT)
    write_lines(folder / "items.jsonl", ITEM)
    write_lines(folder / "rl" / "after.jsonl", {"messages": said("Name a river.", "The Rhine.")})
    write_lines(folder / "rl" / "training.jsonl", {"step": 1, "reward": 0.5})
    return folder


def pair_of(number):
    """Return a small pair that differs in its last turn; the chosen reply is longer by `number` characters."""
    asked = said(f"Count to {number}.", "Later.") * (number % 3)
    texts = [each["content"] for each in asked]
    return simulated(
        f"p{number}",
        said(*texts, "Now?", "Yes." + "!" * number),
        said(*texts, "Now?", "Nay."),
        contrasts=[],
        source="counted",
    )


def write_table(path, *rows):
    """Write a parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_lines(path, *rows):
    """Append rows to a file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def indexed(tmp_path):
    """Return what indexes sources and returns the index."""

    return partial(index_of, tmp_path / "index.sqlite")


def index_of(path, *sources):
    """Bring an index up to date with its sources, and return it."""
    with closing(IndexWriter(path, [str(source) for source in sources])) as writer:
        writer.update()
    return Index(path)


@pytest.fixture
def serve_index():
    """Return what serves an index in this process and returns the address."""
    with ExitStack() as stack:
        yield lambda index: stack.enter_context(serving(index))


def set_extras(index, name, values):
    """Replace the extra values of a name, such as margins, by text key."""
    with closing(connect(index.path)) as database, database:
        database.execute("DELETE FROM extras WHERE name = ?", (name,))
        database.executemany("INSERT INTO extras VALUES(?, ?, ?)", [(name, *item) for item in values.items()])


@contextmanager
def serving(index, labels=None, scorers=None):
    """Serve an index on a free port in a thread; without labels, those that are saved are lost."""
    folder = tempfile.TemporaryDirectory()
    labels = labels or LabelStore(Path(folder.name) / "labels.sqlite")
    index = Index(index.path, labels)
    started, loop = Queue(), asyncio.new_event_loop()

    async def run():
        runner = web.AppRunner(build_app(index, LabelForms(labels), scorers or Scorers()), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        started.put(runner)

    thread = Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(run(), loop)
    runner = started.get(timeout=30)
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        folder.cleanup()


@pytest.fixture(scope="module")  # its event loop would run in the thread of all later tests
def browser():
    """Start Chromium."""
    if CHROMIUM is None:
        pytest.fail("expected Chromium for these tests; install it: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@contextmanager
def opened(browser, **options):
    """Open a page; an error in its script, or a violated policy, fails the test."""
    faults: list[object] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    context.set_default_timeout(120_000)  # for busy machines
    page = context.new_page()
    page.faults = faults
    page.on("pageerror", lambda error: faults.append(error))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: faults.append(dialog.message))
    yield page
    context.close()
    assert faults == []
