"""A dry run: the prompts and the estimated cost of a run, with placeholders for the models; nothing is sent.

The placeholders answer with marks such as `[assistant, turn 1]`. Prompts show the marks; estimates count each mark as a
message with the mean length of such messages in the seeds.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from statistics import fmean

from pydantic import BaseModel, ConfigDict

from music.conversation import Message
from music.llm.chat import ChatReply, ChatRequest, ReplyOutcome
from music.llm.endpoints import load_model, shown
from music.llm.spending.budget import PriceTable
from music.pairs import Usage
from music.prompts import PromptKind, read_prompt, render_contrast_reply, render_rewrite_reply
from music.prompts.judge import Choice, render_judgement
from music_agents.config import SimulationConfig
from music_agents.failures import FailedPair, FailureReason
from music_agents.graph import build_pair_graph
from music_agents.pair_simulator import PairSimulator
from music_agents.run.roles import make_gates, make_roles
from music_agents.run.run import load_run_personas
from music_agents.run_config import load_graph
from music_agents.seeds import Seed, SeedContexts

__all__ = ["AskedPrompt", "DryRun", "dry_run"]

MAX_PAIRS = 20
CHARS_PER_TOKEN = 4
ASSUMED_CHARS = {"user": 120, "assistant": 800}
"""Length of a message if the seeds have too few to measure it."""
MIN_MEASURED = 20
"""Number of messages that are enough to measure the length."""
MAX_SEEDS = 1000
"""Seeds whose messages are measured."""

_MARK = re.compile(r"\[(user|assistant)[a-z ]*, turn \d+\]")


class AskedPrompt(BaseModel):
    """A prompt of the first pair, as it would be sent to a model."""

    model_config = ConfigDict(frozen=True)

    role: str
    """The role that is prompted."""
    endpoint: str
    side: str
    turn: int
    """From 1."""
    messages: tuple[dict[str, str], ...]


class DryRun(BaseModel):
    """The prompts and the estimated cost of a run, without retries and dropped pairs."""

    model_config = ConfigDict(frozen=True)

    prompts: tuple[AskedPrompt, ...]
    """The first prompt of each role, for the first pair."""
    num_pairs: int
    num_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """In USD; None if a price is unknown."""
    chars: dict[str, int]
    """Assumed characters of a message, by author."""
    failed: str = ""
    """Why a pair could not be simulated; empty if all could."""

    def describe(self) -> str:
        """Return the prompts and the estimates as text."""
        cost = "unknown (give --price)" if self.cost is None else f"{self.cost:,.2f} USD"
        lengths = " and ".join(f"{num:,} characters by the {part}" for part, num in self.chars.items())
        lines = [line for prompt in self.prompts for line in _show(prompt)]
        lines += [
            f"estimate   {self.num_pairs:,} pairs: {self.num_calls:,} calls, {self.prompt_tokens:,} tokens of prompts "
            f"and {self.completion_tokens:,} of replies",
            f"cost       {cost}",
            f"assumed    messages of {lengths}; {CHARS_PER_TOKEN} characters a token; no retries, no dropped pairs",
        ]
        lines += [f"warning: not every pair could be simulated: {self.failed}"] if self.failed else []
        return "\n".join([*lines, "nothing was sent"])


async def dry_run(config: SimulationConfig, seeds: Sequence[Seed]) -> DryRun:
    """Simulate the first pairs of a run with placeholders for the models.

    Raises:
        InvalidInputError: An endpoint, a graph or personas cannot be loaded.
    """
    specs = config.endpoints()
    for spec in {spec for spec in specs.values() if not spec.startswith("local:")}:
        await load_model(spec).aclose()  # for its checks
    asked: list[tuple[str, ChatRequest, str]] = []
    ungated = config.model_copy(update={"gates": False})  # marks are no text for a gate
    models = {role: _StandIn(role, spec, asked) for role, spec in specs.items()}
    graph = load_graph(config.graph) if config.graph else build_pair_graph
    simulator = PairSimulator(
        graph=graph(make_roles(models, ungated)),
        contexts=SeedContexts(seeds, config.seed),
        num_turns=config.num_turns,
        run_seed=config.seed,
        personas=load_run_personas(config),
        gates=make_gates(models, ungated),
    )
    outcomes = [await simulator.run(index) for index in range(min(config.num_pairs, MAX_PAIRS))]
    failures = [outcome for outcome in outcomes if isinstance(outcome, FailedPair)]
    # The judgement of a placeholder means nothing.
    failed = next((one.detail for one in failures if one.reason is not FailureReason.JUDGE_DISAGREES), "")
    return _sum_up(config, asked, len(outcomes), _lengths(seeds, config.max_reply_tokens), failed)


class _StandIn:
    """A placeholder for a model: records its requests, and answers with a mark."""

    def __init__(self, role: str, name: str, asked: list[tuple[str, ChatRequest, str]]) -> None:
        self._role = role
        self._asked = asked
        self.name = name

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer one request."""
        text = self._answer(request)
        self._asked.append((self._role, request, text))
        return ChatReply(text=text, outcome=ReplyOutcome.COMPLETE, model=self.name)

    async def aclose(self) -> None:
        """Nothing to release."""

    def _answer(self, request: ChatRequest) -> str:
        side, turn = _place(request)
        whose = "" if side == "chosen" else " of the rejected side"
        part = read_prompt(request.messages).kind
        if self._role == "judge":
            return render_judgement(Choice.FIRST, "[judgement]")
        if part is PromptKind.REWRITE:
            return render_rewrite_reply(f"[user rewritten, turn {turn}]")
        if self._role == "contrast":
            return render_contrast_reply(f"[user rewritten, turn {turn}]", f"[assistant{whose}, turn {turn}]")
        return f"[{'user' if self._role == 'user' else 'assistant'}{whose}, turn {turn}]"


def _place(request: ChatRequest) -> tuple[str, int]:
    """Return the side and the turn, from 1, of a request; a judge's request has neither."""
    _, side, turn, *_ = [*request.key.split("/"), "", ""]
    return side, int(turn) + 1 if turn.isdigit() else 0


def _sum_up(
    config: SimulationConfig, asked: Sequence[tuple[str, ChatRequest, str]], num_simulated: int, chars: dict[str, int],
    failed: str,
) -> DryRun:  # fmt: skip
    """Extrapolate from the requests of some pairs to the whole run."""
    usages: dict[str, Usage] = {}
    for role, request, reply in asked:
        num_prompt = sum(_num_chars(message.content, chars) for message in request.messages)
        usage = Usage(1, num_prompt // CHARS_PER_TOKEN, _num_chars(reply, chars) // CHARS_PER_TOKEN)
        usages[role] = usages.get(role, Usage()) + usage
    share = config.num_pairs / num_simulated
    total = sum(usages.values(), Usage())
    cost = _cost(config, usages)
    return DryRun(
        prompts=tuple(_first_prompts(config.endpoints(), asked)),
        num_pairs=config.num_pairs,
        num_calls=round(total.num_calls * share),
        prompt_tokens=round(total.prompt_tokens * share),
        completion_tokens=round(total.completion_tokens * share),
        cost=None if cost is None else cost * share,
        chars=chars,
        failed=failed,
    )


def _cost(config: SimulationConfig, usages: Mapping[str, Usage]) -> float | None:
    """Return the cost in USD, with the most expensive of different replicas; None if a price is unknown."""
    table, specs, cost = PriceTable.parse(config.prices), config.endpoints(), 0.0
    for role, usage in usages.items():
        prices = list(table.find(specs[role]).values())
        known = [price.cost(usage.prompt_tokens, usage.completion_tokens) for price in prices if price is not None]
        if len(known) < len(prices):
            return None
        cost += max(known)
    return cost


def _first_prompts(endpoints: Mapping[str, str], asked: Sequence[tuple[str, ChatRequest, str]]) -> list[AskedPrompt]:
    """Return the first prompt of each role for the first pair, once per side except for the user."""
    first: dict[tuple[str, str, bool], AskedPrompt] = {}
    for role, request, _ in asked:
        side, turn = _place(request)
        step = request.key.rpartition("/")[2].rstrip("0123456789")
        kind = (role, step, role != "user" and side == "rejected")
        if request.route == "0" and kind not in first:
            messages = tuple({"role": message.role, "content": message.content} for message in request.messages)
            first[kind] = AskedPrompt(
                role=role, endpoint=shown(endpoints[role]), side=side, turn=turn, messages=messages
            )
    return list(first.values())


def _lengths(seeds: Sequence[Seed], max_reply_tokens: int | None) -> dict[str, int]:
    """Return the mean length of messages in the seeds, in characters, by author."""
    messages: list[Message] = [message for seed in islice(seeds, MAX_SEEDS) for message in seed.conversation.messages]
    found = {}
    for part, assumed in ASSUMED_CHARS.items():
        lengths = [len(message.content) for message in messages if message.role == part]
        length = round(fmean(lengths)) if len(lengths) >= MIN_MEASURED else assumed
        found[part] = min(length, CHARS_PER_TOKEN * (max_reply_tokens or 1_000_000))
    return found


def _num_chars(text: str, chars: Mapping[str, int]) -> int:
    """Return the length of a text, with each mark counted as a message."""
    marks = list(_MARK.finditer(text))
    return len(text) + sum(chars[mark[1]] - len(mark[0]) for mark in marks)


def _show(prompt: AskedPrompt) -> list[str]:
    """Return a prompt line by line."""
    place = f", {prompt.side} side, turn {prompt.turn}" if prompt.turn else ""
    head = f"--- to {prompt.endpoint} as the {prompt.role}{place} ---"
    said = [line for message in prompt.messages for line in (f"[{message['role']}]", message["content"])]
    return [head, *said, ""]
