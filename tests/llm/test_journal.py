import asyncio
import os
import random
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from music.conversation import Message
from music.llm.chat import (
    ChatReply,
    ChatRequest,
    EndpointUnavailableError,
    ReplyOutcome,
    TokenLogprobs,
    TryUsage,
)
from music.llm.journal import ChangedSettingsError, Journal, JournaledModel, JournalError, JournalLockedError
from music.llm.spending.budget import Price
from music.llm.spending.records import Charges

SETTINGS = {"seed": 0, "model": "m@http://127.0.0.1:1/v1"}


def make_reply(text: str, outcome: ReplyOutcome = ReplyOutcome.COMPLETE) -> ChatReply:
    return ChatReply(text=text, outcome=outcome, model="m", prompt_tokens=3, completion_tokens=2)


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
        f"0/chosen/{i}/user/0": make_reply(f"text {i} \N{SNOWMAN}\n", list(ReplyOutcome)[i % len(ReplyOutcome)])
        for i in range(8)
    }
    async with Journal.open(path, SETTINGS) as journal:
        for key, reply in replies.items():
            await journal.put(key, reply)
    async with Journal.open(path, SETTINGS) as journal:
        assert len(journal) == 8
        assert {key: journal.get(key) for key in replies} == replies
        assert journal.get("0/chosen/9/user/0") is None


async def test_every_field_of_a_reply_survives(tmp_path):
    reply = ChatReply(
        text="spoken",
        outcome=ReplyOutcome.LENGTH,
        model="m",
        prompt_tokens=30,
        completion_tokens=2,
        cached_tokens=16,
        thinking="first \N{SNOWMAN}, then",
        cleaned=("end_mark", "role_header", "end_mark"),
        logprobs=(TokenLogprobs("a", (("a", -0.5), ("b", -1.5))),),
        is_reused=True,
    )
    unlike = {name for name in ChatReply.__slots__ if getattr(reply, name) == getattr(make_reply(""), name)}
    assert unlike == {"model", "completion_tokens"}, "give every field a value that is not its default"
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await journal.put("k", reply, "user")
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert journal.get("k") == reply


async def test_failed_tries_are_paid_for_in_every_later_session(tmp_path):
    counted = TryUsage(prompt_tokens=10, completion_tokens=5, cached_tokens=4, model="m")
    guessed = TryUsage(prompt_tokens=100, completion_tokens=50, model="m", is_estimate=True)
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await asyncio.gather(*(journal.charge("k", "user", counted, 0.25) for _ in range(2)))  # two tries, one key
        await journal.charge("k", "user", guessed, None)
        await journal.put("k", make_reply("x"), "user")
    expected = Charges(
        num_calls=1,
        prompt_tokens=123,
        completion_tokens=62,
        cached_tokens=8,
        cost=0.5,
        num_unpriced=2,
        num_failed_tries=3,
        num_estimated=1,
        estimated_tokens=150,
    )
    assert journal.spent("user") == {"m": expected}
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert journal.spent("user") == {"m": expected}
        assert journal.spent("judge") == {}


async def test_what_had_no_price_gets_one_once_and_what_had_one_keeps_it(tmp_path):
    used = TryUsage(prompt_tokens=1_000_000, model="m")
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await journal.charge("k", "user", used, 7.0)
        await journal.charge("k", "user", used, None)
        await journal.put("k", make_reply("x"), "user")
        await journal.charge("k", "judge", used, None)
    for price in (Price(3.0, 0.0), Price(100.0, 100.0)):
        async with Journal.open(tmp_path / "j", SETTINGS) as journal:
            journal.fix_costs("user", "m", price)
            assert journal.spent("user")["m"].cost == pytest.approx(7.0 + 3.0 + 9e-6)
            assert journal.spent("user")["m"].num_unpriced == 0
            assert journal.spent("judge")["m"].num_unpriced == 1


async def test_every_account_knows_what_its_replies_cost_in_all_sessions(tmp_path):
    for session in range(2):
        async with Journal.open(tmp_path / "j", SETTINGS) as journal:
            user, judge = (JournaledModel(CountingModel(), journal, account=name) for name in ("user", "judge"))
            await user.complete(make_request(f"{session}/user"))
            if session:
                await user.complete(make_request("0/user"))
            await asyncio.gather(*(judge.complete(make_request(f"{session}/judge/{i}")) for i in range(2)))
            for account, num in (("user", 1 + session), ("judge", 2 + 2 * session)):
                assert journal.spent(account) == {"m": Charges(num, 3 * num, 2 * num, num_unpriced=num)}


async def test_any_text_comes_back_as_it_was(tmp_path):
    texts = ["", "\0 in \0 between", "\N{SNOWMAN}\U0001f600", "x" * 10_000_000]
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        for number, text in enumerate(texts):
            await journal.put(str(number), make_reply(text))
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert [journal.get(str(number)).text for number in range(len(texts))] == texts


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


async def test_a_close_that_is_cut_short_still_writes_what_is_pending(tmp_path):
    journal = Journal.open(tmp_path / "j", SETTINGS)
    puts = [asyncio.create_task(journal.put("0", make_reply("x")))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the writer is at work
    puts += [asyncio.create_task(journal.put(str(i), make_reply("x"))) for i in range(1, 4)]
    closing = asyncio.create_task(journal.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.wait_for(asyncio.gather(*puts), timeout=30)
    with pytest.raises(JournalError, match="closed"):
        await journal.put("late", make_reply("x"))
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert len(journal) == 4


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


async def test_what_changed_is_shown_by_key_path_and_in_short(tmp_path):
    long = {"prompts": {"user": "a" * 500 + "b" + "c" * 500, "empty": {}}, "mix": {"forget": 1.0, "stale": 1.0}}
    async with Journal.open(tmp_path / "j", long) as journal:
        await journal.put("k", make_reply("x"))
    changed = {"prompts": {"user": "a" * 500 + "B" + "c" * 500, "empty": {}}, "mix": {"stale": 0.5}}
    with pytest.raises(ChangedSettingsError) as caught:
        Journal.open(tmp_path / "j", changed)
    lines = str(caught.value).splitlines()[1:-1]
    assert max(map(len, lines)) < 250
    assert "ab" in lines[0]
    assert "-> …" in lines[0]
    assert "aB" in lines[0]
    assert lines[1:] == ["  mix.forget: 1.0 -> unset", "  mix.stale: 1.0 -> 0.5"]


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


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1200 KB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1200k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("mounting a small file system takes root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


async def test_on_a_really_full_disk_nothing_acknowledged_is_lost(small_disk):
    acknowledged: set[str] = set()

    async def put(journal: Journal, key: str) -> None:
        await journal.put(key, make_reply(key * 1000))
        acknowledged.add(key)

    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(700_000))
    async with Journal.open(small_disk / "j", SETTINGS) as journal:
        results = []
        while not results:
            batch = (put(journal, f"{len(acknowledged) + i:06d}") for i in range(5))
            results = [error for error in await asyncio.gather(*batch, return_exceptions=True) if error]
        assert [type(error) for error in results] == [JournalError] * 5
        assert "make room" in str(results[0])
        ballast.unlink()
        await put(journal, "after")
        assert journal.spent("")["m"].num_calls == len(acknowledged)
    async with Journal.open(small_disk / "j", SETTINGS) as journal:
        assert len(journal) == len(acknowledged)
        assert all(journal.get(key).text == key * 1000 for key in acknowledged)


async def test_closing_on_a_full_disk_and_going_on_loses_nothing(small_disk):
    async with Journal.open(small_disk / "j", SETTINGS) as journal:
        await journal.put("k", make_reply("x" * 10_000))
        with pytest.raises(OSError, match="No space"):
            (small_disk / "ballast").write_bytes(bytes(1_200_000))
    with pytest.raises(JournalError, match="make room"):
        Journal.open(small_disk / "j", SETTINGS)
    (small_disk / "ballast").unlink()
    async with Journal.open(small_disk / "j", SETTINGS) as journal:
        assert journal.get("k").text == "x" * 10_000


@pytest.mark.parametrize("read_only", ["file", "directory"])
def test_what_cannot_be_written_is_refused_at_once(read_only):
    if os.geteuid() == 0:
        os.seteuid(65534)  # root may write anything
    try:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            path = directory / "j"
            asyncio.run(Journal.open(path, SETTINGS).aclose())
            path.chmod(0o444) if read_only == "file" else directory.chmod(0o555)
            with pytest.raises(JournalError, match="make it and its directory writable"):
                Journal.open(path, SETTINGS)
            directory.chmod(0o755)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


async def test_two_replies_under_one_key_are_an_error(tmp_path):
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await journal.put("k", make_reply("x"))
        with pytest.raises(JournalError, match="two replies under one request key"):
            await journal.put("k", make_reply("y"))


async def test_a_reply_that_cannot_be_stored_does_not_cost_those_beside_it(tmp_path):
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        puts = [journal.put(str(i), make_reply("\ud800" if i == 2 else "x")) for i in range(4)]
        puts.append(journal.put("3", make_reply("y")))
        results = await asyncio.gather(*puts, return_exceptions=True)
        assert [type(result) for result in results] == [type(None)] * 2 + [JournalError, type(None), JournalError]
        assert "valid Unicode" in str(results[2])
        assert journal.spent("")["m"].num_calls == 3
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert [journal.get(str(i)) is not None for i in range(4)] == [True, True, False, True]


@pytest.fixture
async def crashed(tmp_path):
    """What a crash leaves of a journal with four replies, each committed alone."""
    path = tmp_path / "crashed" / "j"
    path.parent.mkdir()
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        for number in range(4):
            await journal.put(str(number), make_reply(f"{number}" * 5000))
        for suffix in ("", "-wal"):
            shutil.copy(f"{tmp_path / 'j'}{suffix}", f"{path}{suffix}")
    return path


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


async def num_replies(path: Path) -> int:
    async with Journal.open(path, SETTINGS) as journal:
        return sum(getattr(journal.get(str(number)), "text", "") == f"{number}" * 5000 for number in range(4))


@pytest.mark.parametrize(("num_bytes", "num_left"), [(0, 4), (1, 3), (100, 3), (5000, 3)])
async def test_a_torn_last_write_costs_that_write_alone(crashed, num_bytes, num_left):
    log = log_of(crashed)
    os.truncate(log, log.stat().st_size - num_bytes)
    assert await num_replies(crashed) == num_left
    assert await num_replies(crashed) == num_left


async def test_garbage_behind_the_log_and_a_left_over_index_do_no_harm(crashed):
    with log_of(crashed).open("ab") as log:
        log.write(random.Random(0).randbytes(20_000))
    crashed.with_name("j-shm").write_bytes(bytes(32768))
    assert await num_replies(crashed) == 4


@pytest.mark.parametrize("place", [5, 20, 300, 5000])
async def test_a_log_that_is_damaged_further_in_is_refused_and_left_alone(crashed, place):
    log = log_of(crashed)
    whole = log.read_bytes()
    damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    log.write_bytes(damaged)
    for _ in range(2):
        with pytest.raises(JournalError, match="is damaged: at least"):
            Journal.open(crashed, SETTINGS)
        assert log.read_bytes() == damaged
    log.write_bytes(whole)
    assert await num_replies(crashed) == 4


def transaction_ends(log: Path) -> list[int]:
    """Return where in a log each transaction ends, the empty log included."""
    content = log.read_bytes()
    page_size = int.from_bytes(content[8:12], "big")
    frames = range(32, len(content), 24 + page_size)
    of_this_log = [place for place in frames if content[place + 8 : place + 16] == content[16:24]]
    return [32] + [place + 24 + page_size for place in of_this_log if content[place + 4 : place + 8] != bytes(4)]


def num_rows_on_disk(path: Path) -> int:
    """Count the replies in a copy of a journal, so that SQLite leaves the journal itself as it is."""
    with tempfile.TemporaryDirectory() as folder:
        for file in (path, log_of(path)):
            shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / path.name)) as connection:
            (num_rows,) = connection.execute("SELECT count(*) FROM replies").fetchone()
    return num_rows


async def test_a_log_that_is_cut_off_between_two_transactions_is_refused_until_it_is_put_back_or_given_up(tmp_path):
    path = tmp_path / "j"
    await asyncio.to_thread(write_until_killed, path, 0, 50)
    log, rows = log_of(path), path.with_name("j-rows")
    whole, base, noted = log.read_bytes(), path.read_bytes(), rows.read_bytes()
    *earlier, last = transaction_ends(log)
    if num_rows_on_disk(path) > int(noted):  # the kill fell between the last transaction and its note
        last = earlier.pop()
    assert len(earlier) > 3
    for end in earlier:
        for content in {whole[:end]} if end > 32 else {whole[:32], b""}:
            log.write_bytes(content)
            with pytest.raises(JournalError, match=r"has lost \d+ of \d+ replies.*or delete .*j-rows"):
                Journal.open(path, {})
            assert log.read_bytes() == content
    log.write_bytes(whole[:last])
    async with Journal.open(path, {}) as journal:
        assert len(journal) >= int(noted)
    assert not rows.exists()
    path.write_bytes(base)
    log.write_bytes(whole[: earlier[-1]])  # and as advised: without the count of the replies
    async with Journal.open(path, {}) as journal:
        assert 0 < len(journal) < int(noted)


async def test_a_count_of_replies_that_is_behind_or_torn_does_no_harm(crashed):
    for content in (b"", b"2", b"0000000000000000000", b"\0" * 20):
        crashed.with_name("j-rows").write_bytes(content)
        assert await num_replies(crashed) == 4


@pytest.mark.parametrize("is_cut", [False, True])
async def test_what_a_refused_log_advises_to_give_up_works(crashed, is_cut):
    """The two other refusals name the count of the replies, too."""
    log = log_of(crashed)
    crashed.with_name("j-rows").write_bytes(b"4")
    log.unlink() if is_cut else log.write_bytes(b"\0" + log.read_bytes()[1:])
    with pytest.raises(JournalError, match=r"delete .*j-rows"):
        Journal.open(crashed, SETTINGS)
    log.write_bytes(b"")
    crashed.with_name("j-rows").unlink()
    assert await num_replies(crashed) == 0


async def test_free_settings_may_change_and_set_the_replies_aside_that_depend_on_them(tmp_path):
    old, new, free = SETTINGS | {"strategy": "one"}, SETTINGS | {"strategy": "two"}, {"strategy": "%/chosen/%"}
    keys = ["0/chosen/0/user/0", "0/rejected/0/assistant/0", "0/judge/first"]
    async with Journal.open(tmp_path / "j", old) as journal:
        for key in keys:
            await journal.put(key, make_reply("x"), "user")
    with pytest.raises(ChangedSettingsError, match="strategy"):
        Journal.open(tmp_path / "j", new)
    with pytest.raises(ChangedSettingsError, match="seed"):
        Journal.open(tmp_path / "j", new | {"seed": 1}, free)
    for settings in (new, old, new):
        async with Journal.open(tmp_path / "j", settings, free) as journal:
            assert [journal.get(key) is not None for key in keys] == [True, False, False]
            assert sum(tally.num_calls for tally in journal.spent("user").values()) == 3  # what was paid for stays so
    async with Journal.open(tmp_path / "j", new) as journal:
        await journal.put(keys[1], make_reply("y"), "user")
    async with Journal.open(tmp_path / "j", new) as journal:
        assert [journal.get(key) is not None for key in keys] == [True, True, False]


async def test_a_missing_log_is_asked_for(crashed):
    log = log_of(crashed)
    kept = log.rename(log.with_name("kept"))
    for _ in range(2):
        with pytest.raises(JournalError, match="j-wal is missing"):
            Journal.open(crashed, SETTINGS)
    shutil.copy(kept, log)
    assert await num_replies(crashed) == 4


async def test_an_empty_log_goes_on_without_what_it_held(crashed):
    log_of(crashed).write_bytes(b"")
    assert await num_replies(crashed) == 0


async def test_a_log_without_its_journal_is_refused_and_left_alone(crashed):
    whole, log = crashed.read_bytes(), log_of(crashed).read_bytes()
    for spoil in (lambda: crashed.write_bytes(b""), crashed.unlink):
        spoil()
        with pytest.raises(JournalError, match="is missing or empty"):
            Journal.open(crashed, SETTINGS)
        assert log_of(crashed).read_bytes() == log
    crashed.write_bytes(whole)
    assert await num_replies(crashed) == 4


async def test_a_journal_that_is_cut_off_or_overwritten_is_refused(tmp_path):
    path = tmp_path / "j"
    async with Journal.open(path, SETTINGS) as journal:
        for number in range(100):
            await journal.put(str(number), make_reply("x" * 5000))
    whole = path.read_bytes()
    half = len(whole) // 2
    for damaged in (whole[:half], whole[:half] + b"\xff" * 10_000 + whole[half + 10_000 :]):
        path.write_bytes(damaged)
        with pytest.raises(JournalError, match="is damaged"):
            Journal.open(path, SETTINGS)
        assert path.read_bytes() == damaged


async def test_a_damaged_journal_keeps_the_log_of_its_last_session(tmp_path):
    path, crashed = tmp_path / "j", tmp_path / "crashed"
    for session in range(2):
        async with Journal.open(path, SETTINGS) as journal:
            for number in range(50):
                await journal.put(f"{session}/{number}", make_reply("x" * 5000))
            for suffix in ("", "-wal"):
                shutil.copy(f"{path}{suffix}", f"{crashed}{suffix}")
    whole, log = crashed.read_bytes(), log_of(crashed).read_bytes()
    crashed.write_bytes(whole[:200_000] + b"\xff" * 10_000 + whole[210_000:])
    for _ in range(2):
        with pytest.raises(JournalError, match="is damaged"):
            Journal.open(crashed, SETTINGS)
        assert log_of(crashed).read_bytes() == log
    crashed.write_bytes(whole)
    async with Journal.open(crashed, SETTINGS) as journal:
        assert len(journal) == 100


async def test_a_start_that_finds_no_room_leaves_a_journal_that_opens_later(small_disk):
    async with Journal.open(small_disk / "j", SETTINGS) as journal:
        await journal.put("k", make_reply("x"))
    room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    for spare in range(0, 40_000, 4096):
        (small_disk / "ballast").write_bytes(bytes(room - spare))
        try:
            await Journal.open(small_disk / "j", SETTINGS).aclose()
        except JournalError as error:
            assert "make room" in str(error)  # noqa: PT017
        (small_disk / "ballast").unlink()
        async with Journal.open(small_disk / "j", SETTINGS) as journal:
            assert journal.get("k") is not None


async def test_an_empty_file_becomes_a_journal(tmp_path):
    (tmp_path / "j").touch()
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await journal.put("k", make_reply("x"))


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    path = tmp_path / "j"
    path.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(JournalError, match="not a journal"):
        Journal.open(path, SETTINGS)


def test_a_database_of_another_kind_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "j"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE replies (key TEXT)")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(JournalError, match="not a journal of this version"):
        Journal.open(path, SETTINGS)
    assert path.read_bytes() == content


WRITER = """
import asyncio, os, sys
from pathlib import Path
from music.llm.chat import ChatReply, ReplyOutcome
from music.llm.journal import Journal

async def write(journal, session, writer):
    for number in range(100_000):
        key = f"{session}/{writer}/{number}"
        reply = ChatReply(text=key * 300, outcome=ReplyOutcome.COMPLETE, model="m")
        await journal.put(key, reply, "user")
        os.write(1, key.encode() + b"\\n")

async def main(path, session):
    async with Journal.open(Path(path), {}) as journal:
        await asyncio.gather(*(write(journal, session, writer) for writer in range(16)))

asyncio.run(main(*sys.argv[1:]))
"""


def write_until_killed(path: Path, session: int, num_replies: int) -> list[str]:
    """Let a process write, kill it once it has acknowledged some replies, and return all that it acknowledged."""
    command = [sys.executable, "-c", WRITER, str(path), str(session)]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        first = [process.stdout.readline().strip() for _ in range(num_replies)]
        process.kill()
        rest = process.stdout.read()
    return first + rest[: rest.rfind("\n") + 1].split()


async def test_kill_9_at_any_point_loses_nothing_that_was_acknowledged(tmp_path):
    path = tmp_path / "j"
    draw = random.Random(0)
    acknowledged: list[str] = []
    for session in range(6):
        acknowledged += await asyncio.to_thread(write_until_killed, path, session, draw.randint(1, 3000))
    async with Journal.open(path, {}) as journal:
        assert len(acknowledged) <= len(journal) <= len(acknowledged) + 6 * 16
        assert all(journal.get(key).text == key * 300 for key in acknowledged)
        assert journal.spent("user")["m"].num_calls == len(journal)


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
        await journaled.complete(make_request(""))
    assert model.keys == ["0/user", "down/user", "down/user", "", ""]
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        assert journal.spent("")["m"].num_calls == 3  # those without a key are paid for, too


async def test_the_journal_says_how_long_each_reply_took(tmp_path):
    class SlowModel(CountingModel):
        async def complete(self, request):
            await asyncio.sleep(0.02)
            return await super().complete(request)

    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await JournaledModel(SlowModel(), journal).complete(make_request("0/user"))
    with closing(sqlite3.connect(tmp_path / "j")) as connection:
        ((latency,),) = connection.execute("SELECT latency FROM replies")
    assert 0.02 <= latency < 60


async def test_a_reply_that_could_not_be_written_is_not_returned(tmp_path):
    async with Journal.open(tmp_path / "j", SETTINGS) as journal:
        await journal.put("k", make_reply("x"))
        with pytest.raises(JournalError):
            await JournaledModel(CountingModel(), journal).complete(make_request("k"))
