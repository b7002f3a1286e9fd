"""What the settings of a run do to its pairs, from the models to the files."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from music.llm.journal import ChangedSettingsError
from music.prompts import PromptKind, read_prompt
from music.sandbox.model import SandboxModel
from music.sandbox.world.seeds import seed_pairs
from music_agents import FailureReason, GateVerdict, Persona, simulate
from music_agents.personas.sources import ListedPersonas
from music_agents.quality import read_saved_pairs

REFUSAL = (
    "<modified_instruction>other</modified_instruction><response>I'm sorry, but I can't help with that.</response>"
)


class Twisted(SandboxModel):
    """The sandbox, with some replies of one's own."""

    def __init__(self, twist):
        super().__init__("good")
        self._twist = twist
        self.num_calls = 0

    def answer(self, request):
        self.num_calls += 1
        prompt = read_prompt(request.messages)
        return self._twist(prompt.kind, request) or super().answer(request)


@pytest.fixture(scope="module")
def sandbox_seeds():
    return seed_pairs(20, 0)


def rows(directory: Path):
    return [row for path in sorted(directory.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


async def test_a_shared_script_has_both_users_say_the_same_for_half_the_calls(tmp_path, fake_model, seeds, run):
    report = await run(tmp_path, seeds, fake_model(), shared_script=True)
    num_calls = {row.account: row.num_calls for row in report.spending.accounts}
    assert num_calls == {"user": 16, "assistant": 16, "contrast": 16}
    for pair in read_saved_pairs(tmp_path):
        assert pair.chosen.messages[::2] == pair.rejected.messages[::2]
        assert not set(pair.chosen.messages[pair.num_seed_messages + 1 :: 2]) & set(pair.rejected.messages)
    with pytest.raises(ChangedSettingsError, match=r"shared_script: true -> false"):
        await run(tmp_path, seeds, fake_model())


async def test_a_schedule_says_which_turns_are_contrasted(tmp_path, fake_model, seeds, run):
    report = await run(tmp_path, seeds, fake_model(), schedule="turns:2", num_turns=3)
    num_calls = {row.account: row.num_calls for row in report.spending.accounts}
    assert num_calls == {"user": 24 + 8, "assistant": 24 + 8, "contrast": 8}  # up to the contrast both sides are one
    for pair in read_saved_pairs(tmp_path):
        assert [contrast.turn for contrast in pair.contrasts] == [1]
        parts = [message.content.split()[0] for message in pair.rejected.messages[pair.num_seed_messages + 1 :: 2]]
        assert parts == ["assistant", "contrast", "assistant"]
    assert report.diagnostics.turns_contrasted == 1


async def test_personas_play_both_users_and_stand_beside_the_pair(tmp_path, fake_model, plain, seeds, run):
    personas = ListedPersonas((Persona.of("A cook who is short of time."), Persona(goal="to learn to swim")))
    seen = {}

    def answer(part, conversation, request):
        if part is PromptKind.USER:
            said = read_prompt(request.messages).persona
            assert seen.setdefault(request.route, said) == said
        return plain(part, conversation, request)

    await run(tmp_path, seeds, fake_model(answer), personas=personas)
    written = [Persona.model_validate_json(row["persona"]) for row in rows(tmp_path)]
    assert set(written) == set(personas.personas)
    assert seen == {str(index): persona.describe() for index, persona in enumerate(written)}
    with pytest.raises(ChangedSettingsError, match="personas"):
        await run(tmp_path, seeds, fake_model(), personas=ListedPersonas(personas.personas[:1]))


async def test_gates_drop_pairs_whose_place_the_next_index_takes(tmp_path, sandbox_seeds, run, shards):
    def twist(part, request):
        return REFUSAL if part is PromptKind.INSTRUCTION and request.route in {"2", "5"} else None

    report = await run(tmp_path / "a", sandbox_seeds, Twisted(twist), gates=True)
    assert report.failures == {"gate_refusal": 2}
    assert [int(row["id"][-6:]) for row in rows(tmp_path / "a")] == [0, 1, 3, 4, 6, 7, 8, 9]
    failures = [json.loads(line) for line in (tmp_path / "a" / "failures.jsonl").read_text().splitlines()]
    assert {(f["index"], f["usage"]["num_calls"], f["role"]) for f in failures} == {(2, 7, ""), (5, 7, "")}
    assert report.spending.num_calls == 10 * 7  # what was dropped was paid for
    await run(tmp_path / "b", sandbox_seeds, Twisted(twist), gates=True, max_in_flight=1)
    assert shards(tmp_path / "b") == shards(tmp_path / "a")
    report = await run(tmp_path / "c", sandbox_seeds, Twisted(twist), gates=False)
    assert report.failures == {}


async def test_a_gate_of_ones_own_may_ask_for_the_usage_of_its_calls(fake_model, graph_over, seeds):
    async def odd(pair, view):
        return GateVerdict(reason=FailureReason.GATE_FORMAT if view.pair % 2 else None, usage=pair.usage)

    outcomes = [o async for o in simulate(seeds, graph_over(fake_model()), num_pairs=3, num_turns=1, gates=[odd])]
    assert {outcome.usage.num_calls for outcome in outcomes} == {2 * 3}
    assert sum(hasattr(outcome, "reason") for outcome in outcomes) >= 2


async def test_replies_that_user_gates_refuse_are_counted_once_in_all_sessions(tmp_path, sandbox_seeds, run, shards):
    def twist(part, request):
        first = request.key.endswith("/0")
        stops = request.route == "3" or (first and request.key.startswith(("0/chosen/0", "6/chosen/0")))
        return "Thanks, that's all. Goodbye!" if part is PromptKind.USER and stops else None

    report = await run(tmp_path / "whole", sandbox_seeds, Twisted(twist), gates=True)
    assert (report.failures, report.retries) == ({"user_stopped": 1}, {"user:user_stopped": 2})
    retries = [row["retries"] for row in rows(tmp_path / "whole")]
    assert retries == [["user:user_stopped"], [], [], [], [], ["user:user_stopped"], [], []]
    for num_pairs in (2, 8, 8):
        again = await run(tmp_path / "parts", sandbox_seeds, Twisted(twist), gates=True, num_pairs=num_pairs)
    assert again.retries == report.retries
    assert shards(tmp_path / "parts") == shards(tmp_path / "whole")


async def test_what_a_judge_says_is_counted_once_in_all_sessions(tmp_path, sandbox_seeds, run, shards):
    """The sandbox judges by its oracle; in two pairs the chosen side talks nonsense, and one judgement is unread."""

    def twist(part, request):
        return "Bananas." if part is PromptKind.ASSISTANT and request.route in {"1", "4"} else None

    def mumble(part, request):
        return "I cannot say." if request.key.startswith("2/judge/chosen_first") else None

    report = await run(tmp_path / "whole", sandbox_seeds, Twisted(twist), judge=Twisted(mumble))
    assert report.failures == {"judge_disagrees": 2}
    figures = report.judge
    assert (figures.num_confirmed, figures.num_refuted, figures.num_undecided) == (7, 2, 1)
    num_calls = {row.account: row.num_calls for row in report.spending.accounts}
    assert num_calls["judge"] == 2 * 10 + 2  # both orders; and the unreadable one twice more
    written = rows(tmp_path / "whole")
    assert Counter(row["judgement"] for row in written)["unread,second"] == 1
    assert all(row["usage"]["num_calls"] >= 7 + 2 for row in written)
    for num_pairs in (2, 8, 8):
        settings = {"judge": Twisted(mumble), "num_pairs": num_pairs}
        again = await run(tmp_path / "parts", sandbox_seeds, Twisted(twist), **settings)
    assert again.judge == report.judge
    assert shards(tmp_path / "parts") == shards(tmp_path / "whole")


async def test_a_judge_may_look_at_a_share(tmp_path, sandbox_seeds, run):
    report = await run(tmp_path, sandbox_seeds, SandboxModel(), judge=SandboxModel(), judge_share=0.5)
    judged = [row["judgement"] != "" for row in rows(tmp_path)]
    assert 0 < sum(judged) < len(judged)
    assert report.judge.num_confirmed + report.judge.num_undecided == sum(judged)
