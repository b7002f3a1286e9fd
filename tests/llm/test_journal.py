import asyncio
import os
import resource
import subprocess
import sys

import pytest

from music.conversation import Message
from music.llm.chat import ChatReply, ChatRequest, EndpointUnavailableError, ReplyOutcome
from music.llm.journal import ChangedSettingsError, Journal, JournaledModel, JournalError, JournalLockedError

SETTINGS = {"seed": 0, "model": "m@http://127.0.0.1:1/v1"}


def make_reply(text: str, outcome: ReplyOutcome = ReplyOutcome.COMPLETE) -> ChatReply:
    return ChatReply(text=text, outcome=outcome, model="m", prompt_tokens=3, completion_tokens=2, latency=0.25)


def make_request(key: str) -> ChatRequest:
    return ChatRequest(messages=(Message(role="user", content="Hi"),), key=key)


class CountingModel:
    name = "counting"

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.keys.append(request.key)
        if request.key.startswith("down"):
            raise EndpointUnavailableError("no connection")
        return make_reply(f"reply {len(self.keys)}")

    async def aclose(self) -> None:
        pass


async def test_a_later_session_finds_every_reply_as_it_was(tmp_path):
    path = tmp_path / "journal.sqlite"
    replies = {
        f"0/chosen/{i}/user/0": make_reply(f"text {i} \N{SNOWMAN}\n", list(ReplyOutcome)[i % 4]) for i in range(8)
    }
    async with Journal.open(path, SETTINGS) as journal:
        for key, reply in replies.items():
            await journal.put(key, reply)
        assert (await journal.usage()).model_dump() == {"num_calls": 8, "prompt_tokens": 24, "completion_tokens": 16}
    async with Journal.open(path, SETTINGS) as journal:
        assert len(journal) == 8
        assert {key: journal.get(key) for key in replies} == replies
        assert journal.get("0/chosen/9/user/0") is None


async def test_no_reply_is_lost_among_many_writers(tmp_path):
    async def write(journal: Journal, writer: int) -> None:
        for number in range(20):
            await journal.put(f"{writer}/{number}", make_reply(f"{writer}/{number}"))

    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await asyncio.gather(*(write(journal, writer) for writer in range(200)))
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert len(journal) == 4000
        assert all(journal.get(f"{w}/{n}").text == f"{w}/{n}" for w in range(200) for n in range(20))


async def test_closing_while_writes_are_pending_writes_them_and_ends(tmp_path):
    for round_ in range(20):
        journal = Journal.open(tmp_path / str(round_), SETTINGS)
        first = asyncio.create_task(journal.put("first", make_reply("a")))
        await asyncio.sleep(0)  # the writer is at work, or about to be
        if round_ % 2:
            await asyncio.sleep(0)
        second = asyncio.create_task(journal.put("second", make_reply("b")))
        await asyncio.sleep(0)
        await asyncio.wait_for(journal.aclose(), timeout=30)
        await asyncio.gather(first, second)
        await journal.aclose()
        async with Journal.open(tmp_path / str(round_), SETTINGS) as journal:
            assert len(journal) == 2


async def test_a_cancelled_caller_leaves_the_others_waiting_rightly(tmp_path):
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        tasks = [asyncio.create_task(journal.put(str(i), make_reply("x"))) for i in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]


async def test_other_settings_are_refused_with_what_changed(tmp_path):
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await journal.put("k", make_reply("x"))
    with pytest.raises(ChangedSettingsError) as caught:
        Journal.open(tmp_path / "j", {"seed": 1, "model": SETTINGS["model"], "persona": "shy"})
    assert "seed: 0 -> 1" in str(caught.value)
    assert 'persona: unset -> "shy"' in str(caught.value)
    assert "model" not in str(caught.value)
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert len(journal) == 1


async def test_settings_may_change_while_nothing_was_paid_for(tmp_path):
    async with Journal.open(tmp_path / "j", SETTINGS):
        pass
    async with Journal.open(tmp_path / "j", {"seed": 1}) as journal:
        await journal.put("k", make_reply("x"))
    with pytest.raises(ChangedSettingsError):
        Journal.open(tmp_path / "j", SETTINGS)


async def test_a_second_process_is_refused_while_the_first_is_at_work(tmp_path):
    script = (
        "import sys; from pathlib import Path; from music.llm.journal import Journal, JournalLockedError\n"
        "try: Journal.open(Path(sys.argv[1]), {'seed': 0, 'model': 'm@http://127.0.0.1:1/v1'})\n"
        "except JournalLockedError as error: print('locked:', error)\n"
        "else: print('opened')"
    )

    def open_elsewhere() -> str:
        command = [sys.executable, "-c", script, str(tmp_path / "j")]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=env).stdout

    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await journal.put("k", make_reply("x"))
        assert "in use by another process" in await asyncio.to_thread(open_elsewhere)
        with pytest.raises(JournalLockedError):
            Journal.open(tmp_path / "j", SETTINGS)
    assert await asyncio.to_thread(open_elsewhere) == "opened\n"


async def test_a_full_disk_reaches_every_waiting_caller_and_the_journal_recovers(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await journal.put("before", make_reply("x"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
        try:
            puts = (journal.put(str(i), make_reply("x" * 50_000)) for i in range(20))
            results = await asyncio.wait_for(asyncio.gather(*puts, return_exceptions=True), timeout=30)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert all(isinstance(result, JournalError) for result in results)
        assert "make room" in str(results[0])
        await journal.put("after", make_reply("y"))
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert len(journal) == 2


async def test_two_replies_under_one_key_are_an_error(tmp_path):
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await journal.put("k", make_reply("x"))
        with pytest.raises(JournalError, match="two replies under one request key"):
            await journal.put("k", make_reply("y"))


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(JournalError, match="not a journal"):
        Journal.open(path, SETTINGS)


async def test_journaled_model_pays_once_per_key_over_sessions(tmp_path):
    model = CountingModel()
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        journaled = JournaledModel(model, journal)
        first = await journaled.complete(make_request("0/user"))
        with pytest.raises(EndpointUnavailableError):
            await journaled.complete(make_request("down/user"))
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        journaled = JournaledModel(model, journal)
        assert await journaled.complete(make_request("0/user")) == first
        with pytest.raises(EndpointUnavailableError):
            await journaled.complete(make_request("down/user"))
        await journaled.complete(make_request(""))
    assert model.keys == ["0/user", "down/user", "down/user", ""]


async def test_a_reply_that_could_not_be_written_is_not_returned(tmp_path):
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await journal.put("k", make_reply("x"))
        with pytest.raises(JournalError):
            await JournaledModel(CountingModel(), journal).complete(make_request("k"))
