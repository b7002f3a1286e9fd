"""`music best-of-n`: let a reward choose replies, and have a judge say what that was worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from music.cli import AsJson, console, emit, read_pairs, run_async

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from music.conversation import Conversation
    from music.llm.chat import ChatModel
    from music.pairs import PreferencePair
    from music.reward import RewardFunction
    from music_agents.roles import Sampling
    from music_envs.best_of_n import BestOfNConfig, Rollout

__all__ = ["best_of_n"]

SANDBOX = "sandbox"


def best_of_n(
    reward: Annotated[str, typer.Option(help="Who selects: oracle, length, random, MODEL or prefix-mean:MODEL.")],
    baseline: Annotated[str | None, typer.Option(help="Another selector to compare with.")] = None,
    seeds: Annotated[str, typer.Option(help="Preference file, folder or hub id (its prompts), or sandbox.")] = SANDBOX,
    num_conversations: Annotated[int, typer.Option(min=1, help="How many conversations.")] = 200,
    assistant: Annotated[str, typer.Option(help="Endpoint that offers the candidates.")] = "sandbox:fair",
    user: Annotated[str, typer.Option(help="Endpoint that plays the user.")] = SANDBOX,
    n: Annotated[int, typer.Option("--n", min=1, help="Candidates per turn.")] = 4,
    turns: Annotated[int, typer.Option(min=1, help="Assistant turns per conversation.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the sandbox's prompts and of all sampling.")] = 0,
    temperature: Annotated[float | None, typer.Option(help="The assistant's; by default the endpoint's own.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Bound on a reply's tokens.")] = None,
    judge: Annotated[str | None, typer.Option(help="Who grades; by default oracle, if the seeds are sandbox.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the rollouts, as JSON lines.")] = None,
    max_in_flight: Annotated[int, typer.Option(min=1, help="Bound on simultaneous requests.")] = 64,
    json: AsJson = False,
) -> None:
    """Multi-turn Best-of-N: a reward chooses among N replies at every turn.

    Example: music best-of-n --reward runs/rm --baseline random --n 8 --turns 3
    """
    from music.reward import open_reward
    from music_agents.roles import Sampling
    from music_envs.best_of_n import BestOfNConfig
    from music_envs.comparison import judge_rollouts

    # What can be wrong is found before models are loaded and replies are paid for.
    contexts = _contexts(seeds, num_conversations, seed)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    names = [reward] if baseline is None else [reward, baseline]
    selectors = [_announced(name, open_reward(name)) for name in names]
    judge = judge or ("oracle" if seeds == SANDBOX else None)
    grader = open_reward(judge) if judge else None
    config = BestOfNConfig(num_candidates=n, num_turns=turns, seed=seed, max_in_flight=max_in_flight)
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    arms = run_async(_play(contexts, selectors, assistant, user, sampling, config))
    _check_some_finished(arms)
    grades = [judge_rollouts(arm, grader) if grader else None for arm in arms]
    result: dict[str, Any] = {
        "config": config,
        "assistant": assistant,
        "user": user,
        "seeds": seeds,
        "judge": judge,
        "num_conversations": len(contexts),
        **_findings(names, arms, grades),
    }
    if out is not None:
        result["files"] = _save(out, arms, grades)
    emit(result, json, _shown(result))


def _announced(name: str, reward: RewardFunction) -> RewardFunction:
    """Tell which selector is in use; a model describes itself and its device."""
    described = getattr(reward, "description", "")
    console.print(f"selector {name}{': ' if described else ''}{described}", markup=False)
    return reward


def _contexts(seeds: str, num: int, seed: int) -> list[Conversation]:
    """Return the prompts to start from, and say where there are fewer than asked for."""
    if seeds == SANDBOX:
        from music.sandbox.seeds import seed_pairs

        return [_prompt(pair) for pair in seed_pairs(num, seed)]
    found = read_pairs(seeds, limit=num)
    if len(found.pairs) < num:
        console.print(f"{num} conversations asked for; {seeds} has prompts for {len(found.pairs)}", markup=False)
    return [_prompt(pair) for pair in found.pairs]


def _prompt(pair: PreferencePair) -> Conversation:
    """Return what both sides of a pair share, up to its last user message."""
    shared = 0
    for mine, other in zip(pair.chosen.messages, pair.rejected.messages, strict=False):
        if mine != other:
            break
        shared += 1
    while shared and pair.chosen.messages[shared - 1].role != "user":
        shared -= 1
    return pair.chosen.prefix(shared)


async def _play(
    contexts: Sequence[Conversation],
    selectors: Sequence[RewardFunction],
    assistant: str,
    user: str,
    sampling: Sampling,
    config: BestOfNConfig,
) -> list[list[Rollout]]:
    """Run one arm per selector, over endpoints opened for the purpose."""
    from contextlib import AsyncExitStack
    from functools import partial

    from rich.progress import Progress

    from music.llm.endpoints import open_model
    from music_agents.roles.assistant import AssistantRole
    from music_agents.roles.user import UserRole
    from music_envs.best_of_n import greedy_best_of_n

    async with AsyncExitStack() as stack:
        models: list[ChatModel] = []
        for spec in (assistant, user):
            models.append(open_model(spec))
            stack.push_async_callback(models[-1].aclose)
        progress = stack.enter_context(Progress(console=console, transient=True))
        # Where all contexts end with the user, the first turn needs no user message; the bar is then a little generous.
        turns = len(contexts) * config.num_turns * (config.num_candidates + 1)
        task = progress.add_task("replies", total=turns * len(selectors))
        play = partial(
            greedy_best_of_n,
            contexts,
            assistant=AssistantRole(models[0], sampling),
            user=UserRole(models[1]),
            config=config,
            on_turn=lambda: progress.advance(task),
        )
        return [await play(reward=selector) for selector in selectors]


def _check_some_finished(arms: Sequence[Sequence[Rollout]]) -> None:
    """Fail if an arm has no conversation to show, with the first reason."""
    from music.conversation import StopReason
    from music.errors import MusicError

    for arm in arms:
        if all(rollout.stop_reason is StopReason.ERROR for rollout in arm):
            raise MusicError(f"all {len(arm)} conversations failed; the first: {arm[0].error}")


def _findings(
    names: Sequence[str], arms: Sequence[Sequence[Rollout]], grades: Sequence[Sequence[float | None] | None]
) -> dict[str, Any]:
    """Return each arm's mean grade and failures, and the comparison if there are two arms."""
    from music.conversation import StopReason
    from music_envs.comparison import compare, mean_grade

    rows = [
        {
            "selector": name,
            "grade": mean_grade(graded) if graded else None,
            "num_failed": sum(rollout.stop_reason is StopReason.ERROR for rollout in arm),
        }
        for name, arm, graded in zip(names, arms, grades, strict=True)
    ]
    graded_arms = [graded for graded in grades if graded is not None]
    return {"arms": rows, "comparison": compare(*graded_arms) if len(graded_arms) == 2 else None}


def _save(
    out: Path,
    arms: Sequence[Sequence[Rollout]],
    grades: Sequence[Sequence[float | None] | None],
) -> dict[str, str]:
    """Write one file of rollouts per arm; return the files by arm."""
    from music_envs.records import write_rollouts

    files = {}
    for label, arm, graded in zip(("reward", "baseline"), arms, grades, strict=False):
        path = out / f"{label}.jsonl"
        write_rollouts(path, arm, graded or [None] * len(arm))
        files[label] = str(path)
    return files


def _shown(result: dict[str, Any]) -> RenderableType:
    """Lay the result out for people."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    config = result["config"]
    title = f"Best-of-{config.num_candidates}, {config.num_turns} turns, {result['num_conversations']} conversations"
    table = Table(title=title)
    for heading in ("selector", f"grade by {result['judge'] or 'no judge'}, 95% interval", "failed"):
        table.add_column(heading)
    for arm in result["arms"]:
        table.add_row(Text(arm["selector"]), Text(str(arm["grade"] or "-")), str(arm["num_failed"]))
    comparison = result["comparison"]
    against = " against ".join(arm["selector"] for arm in result["arms"])
    notes = [Text(f"{against}: {comparison}")] if comparison else []
    notes += [Text(f"rollouts: {path}") for path in result.get("files", {}).values()]
    return Group(table, *notes)
