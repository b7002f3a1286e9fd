"""Runs on a server whose models think aloud, leak marks or run on, as real ones do."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable

import pyarrow.parquet as pq
import pytest
from aiohttp import web

from music.errors import MusicError
from music.llm.spending.records import AccountSpending, Spending
from music.sandbox.model import SandboxModel
from music.sandbox.server.wire import read_chat_request, write_completion
from music.sandbox.world.seeds import seed_pairs
from music_agents import SimulationConfig
from music_agents.failures import FailureReason, remedy
from music_agents.progress import RunProgress
from music_agents.run import RunReport, RunStatus, run_simulation
from music_agents.run.report import drop_warnings, reply_warnings

SEEDS = seed_pairs(50, 0)
NUM_PAIRS, NUM_TURNS = 12, 5

MODELS = {
    "plain": "{}",
    "thinks": "<think>\nThey want: {}\nA draft: <response>no</response>\n</think>\n\n{}",
    "opened": "They want something, so I answer.\n</think>\n\n{}",
    "marks": "assistant\n\n{}<|im_end|>",
    "runs_on": "{}<|im_end|>\n<|im_start|>user\nThanks!",
}
"""What each model makes of the sandbox's text."""


@pytest.fixture
async def serve():
    """Serve the models; return the base URL, and how to be told of each request."""
    sandbox, listeners = SandboxModel("good"), list[Callable[[], None]]()

    async def answer(request: web.Request) -> web.Response:
        name, asked = read_chat_request(await request.read())
        fields = write_completion(await sandbox.complete(asked))
        message = fields["choices"][0]["message"]
        message["content"] = MODELS[name].replace("{}", message["content"])
        for listener in listeners:
            listener()
        return web.json_response(fields)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", listeners
    await runner.cleanup()


@pytest.fixture
def simulate(serve, tmp_path) -> Callable[..., Awaitable[RunReport]]:
    """Run a session with one model for each role."""

    async def run(model: str, progress: RunProgress | None = None, **models: str) -> RunReport:
        endpoints = {role: f"{models.get(role, model)}@{serve[0]}" for role in ("user", "assistant", "contrast")}
        config = SimulationConfig(num_pairs=NUM_PAIRS, num_turns=NUM_TURNS, max_in_flight=8, **endpoints)
        return await run_simulation(config, tmp_path / "out", seeds=SEEDS, progress=progress)

    return run


def written(directory):
    """All texts of the rows on disk, with the side of each."""
    for path in directory.glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            for side in ("chosen", "rejected"):
                yield from ((side, message["content"]) for message in row[side][row["num_seed_messages"] :])
            yield from (("contrast", contrast["modified_instruction"]) for contrast in row["contrasts"])


def num_replies(report, role):
    return sum(account.num_calls for account in report.spending.accounts if account.account == role)


@pytest.mark.parametrize("model", ["thinks", "opened"])
async def test_nothing_that_is_written_holds_thinking_and_all_of_it_is_counted(simulate, tmp_path, model):
    report = await simulate(model)
    assert (report.status, report.num_pairs) == (RunStatus.COMPLETE, NUM_PAIRS)
    texts = list(written(tmp_path / "out"))
    replies = [text for side, text in texts if side != "contrast"][1::2]
    assert len(replies) == 2 * NUM_PAIRS * NUM_TURNS == 120
    assert not [text for _, text in texts if "think>" in text or "They want" in text]
    assert report.replies == {
        role: {"thinking": num_replies(report, role)} for role in ("user", "assistant", "contrast")
    }


async def test_thinking_changes_no_pair(simulate, tmp_path):
    await simulate("plain")
    plain = sorted(written(tmp_path / "out"))
    (tmp_path / "out").rename(tmp_path / "plain")
    await simulate("thinks")
    assert sorted(written(tmp_path / "out")) == plain


async def test_headers_and_end_marks_are_taken_out_and_counted_by_role(simulate, tmp_path):
    report = await simulate("plain", assistant="marks")
    num = num_replies(report, "assistant")
    assert report.replies == {"assistant": {"role_header": num, "end_mark": num}}
    assert not [text for _, text in written(tmp_path / "out") if "im_end" in text or text.startswith("assistant")]
    assert len(list(reply_warnings(report))) == 2


async def test_a_reply_that_runs_on_into_the_next_turn_drops_its_pair(simulate, tmp_path):
    with pytest.raises(MusicError, match="gate_format"):
        await simulate("plain", assistant="runs_on")
    report = json.loads((tmp_path / "out" / "run.json").read_bytes())
    assert report["num_pairs"] == 0
    assert report["replies"]["assistant"].keys() == {"control_token"}


async def test_a_resumed_run_counts_each_reply_once(serve, simulate):
    progress, num_asked = RunProgress(), 0

    def stop_in_the_middle() -> None:
        nonlocal num_asked
        num_asked += 1
        if num_asked == 60:
            progress.stop()

    serve[1].append(stop_in_the_middle)
    stopped = await simulate("plain", progress, assistant="thinks")
    assert stopped.status is RunStatus.INTERRUPTED
    assert 0 < stopped.replies["assistant"]["thinking"] == num_replies(stopped, "assistant")
    finished = await simulate("plain", assistant="thinks")
    assert finished.status is RunStatus.COMPLETE
    assert finished.replies == {"assistant": {"thinking": NUM_PAIRS * NUM_TURNS}}
    again = await simulate("plain", assistant="thinks")
    assert again.replies == finished.replies


async def test_a_run_in_shares_adds_up_what_its_shares_count_and_warns(serve, tmp_path):
    endpoints = [f"--{role}={model}@{serve[0]}" for role, model in (("user", "plain"), ("contrast", "plain"))]
    flags = [*endpoints, f"--assistant=thinks@{serve[0]}", "--num-pairs=4", "--turns=2", "--processes=2"]
    command = ["-c", "from music.cli import main; main()", "simulate", "sandbox", f"--out={tmp_path / 'out'}", *flags]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    report = json.loads((tmp_path / "out" / "run.json").read_bytes())
    num_replies = 4 * 2 + 1  # and the probe's
    assert report["replies"] == {"assistant": {"thinking": num_replies}}
    assert (
        f"warning: {num_replies} of {num_replies} replies of the assistant held thinking, which was taken out"
        in out.decode()
    )


@pytest.mark.parametrize(("num", "warns"), [(1, False), (2, True)])
def test_more_than_one_in_a_hundred_is_warned_of(num, warns):
    account = AccountSpending(account="user", model="m", num_calls=100, prompt_tokens=1, completion_tokens=1, cost=None)
    report = RunReport.model_construct(replies={"user": {"end_mark": num}}, spending=Spending(accounts=(account,)))
    assert bool(list(reply_warnings(report))) is warns


@pytest.mark.parametrize(
    ("num_pairs", "num_dropped", "warns"), [(54, 6, False), (53, 6, True), (0, 4, False), (0, 5, True)]
)
def test_a_reason_that_drops_more_than_a_tenth_of_the_pairs_is_warned_of_with_its_remedy(num_pairs, num_dropped, warns):
    report = RunReport.model_construct(num_pairs=num_pairs, failures={"reply_cut": num_dropped})
    told = [
        f"{num_dropped} of {num_pairs + num_dropped} pairs were dropped by reply_cut: {remedy(FailureReason.REPLY_CUT)}"
    ]
    assert list(drop_warnings(report)) == (told if warns else [])
