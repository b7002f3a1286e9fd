"""`music best-of-n`: let a reward choose replies, and have a judge say what that was worth."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from music.cli import AsJson, MaxTries, Options, Patience, client_settings, console, counted, emit, run_async
from music.files import require_output_folder
from music.judges import cli as flags
from music.registry import SANDBOX
from music_envs.best_of_n.modes import Mode, open_strategy
from music_envs.scoring import load_growing_reward
from music_envs.seeds import load_seeds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from music.conversation import Conversation
    from music.reward import RewardFunction
    from music_envs.best_of_n.remembering import PlayerOptions
    from music_envs.best_of_n.rollout import Rollout
    from music_envs.best_of_n.stage import BestOfNConfig
    from music_envs.best_of_n.strategy import Strategy

__all__ = ["best_of_n"]

REWARD_HELP = (
    "Who selects: oracle, length, random, MODEL, MODEL@BASE_URL (behind a server), or prefix-mean:MODEL, which takes "
    "the mean over all turns. Among replies to one history, MODEL and prefix-mean:MODEL choose alike: it matters with "
    "--mode whole and beam only."
)

JUDGE_HELP = (
    "Who grades: as --reward, by default oracle if the seeds are sandbox; or judge:ENDPOINT, a language model that "
    "compares each conversation with the baseline's, in both orders."
)

GAP = (
    "gap: what the best of n gains over n = 1 by the selector's reward, less what it gains by the judge, both in "
    "standard deviations of the candidates. A grade that falls while the reward rises is over-optimisation.\n"
)


def best_of_n(
    reward: Annotated[str, typer.Option(help=REWARD_HELP)],
    baseline: Annotated[str | None, typer.Option(help="Another selector to compare with.")] = None,
    mode: Annotated[
        Mode,
        typer.Option(
            help="greedy: keep the best of N replies at every turn, as in the paper. anytime: the same, but stop "
            "drawing early. beam: continue several partial conversations. whole: keep the best of N conversations."
        ),
    ] = Mode.GREEDY,
    n: Annotated[int, typer.Option("--n", min=1, help="Candidates per history, or conversations with whole.")] = 4,
    turns: Annotated[int, typer.Option(min=1, help="Assistant turns per conversation.")] = 3,
    width: Annotated[int | None, typer.Option(min=1, help="beam: partial conversations kept; by default 2.")] = None,
    margin: Annotated[
        float | None, typer.Option(min=0, help="anytime: stop a turn when the best reward is so far ahead.")
    ] = None,
    token_budget: Annotated[
        int | None, typer.Option(min=1, help="anytime: tokens per conversation, prompts and user included.")
    ] = None,
    round_size: Annotated[int | None, typer.Option(min=1, help="anytime: candidates a round; by default 1.")] = None,
    seeds: Annotated[str, typer.Option(help="Preference file, folder or hub id (its prompts), or sandbox.")] = SANDBOX,
    num_conversations: Annotated[int, typer.Option(min=1, help="How many conversations.")] = 200,
    assistant: Annotated[str, typer.Option(help="Endpoint that offers the candidates.")] = "sandbox:fair",
    user: Annotated[str, typer.Option(help="Endpoint that plays the user.")] = SANDBOX,
    seed: Annotated[int, typer.Option(help="Seed of the sandbox's prompts and of all sampling.")] = 0,
    temperature: Annotated[
        float | None, typer.Option(min=0, help="The assistant's; by default the endpoint's own.")
    ] = None,
    max_reply_tokens: Annotated[int | None, typer.Option(min=1, help="Bound on a reply's tokens.")] = None,
    judge: Annotated[str | None, typer.Option(help=JUDGE_HELP)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the rollouts, as JSON lines, and for all replies.")
    ] = None,
    max_in_flight: Annotated[int, typer.Option(min=1, help="Bound on simultaneous requests.")] = 64,
    judge_prompt: flags.Prompt = None,
    judge_num_samples: flags.Samples = None,
    judge_temperature: flags.Temperature = None,
    judge_max_cost: flags.MaxCost = None,
    judge_max_total_tokens: flags.MaxTotalTokens = None,
    judge_prices: flags.Price = None,
    judge_cache: flags.Cache = None,
    judge_options: flags.Options = None,
    options: Options = None,
    max_tries: MaxTries = None,
    patience: Patience = None,
    json: AsJson = False,
) -> None:
    """Multi-turn Best-of-N: a reward chooses among N candidates.

    With greedy and whole, the report shows what fewer candidates would have brought, by the reward and by the judge.

    Example: music best-of-n --reward runs/rm --baseline random --n 8 --turns 3
    """
    values = locals()
    from music.reward import load_reward
    from music.reward.functions import require_reward
    from music_envs.best_of_n.options import read_player_options
    from music_envs.best_of_n.stage import BestOfNConfig
    from music_envs.comparison import judge_rollouts
    from music_envs.judged import find_judge, judge_by_model
    from music_envs.records import write_arms

    # What can be wrong is found before models are loaded and replies are paid for.
    if out is not None:
        require_output_folder(out)
    judging = flags.read_settings([judge], max_in_flight, values)
    judging = judging.model_copy(update={"client": client_settings(max_tries, patience)})
    asking = read_player_options(options, max_tries, patience, temperature=temperature, max_tokens=max_reply_tokens)
    endpoint = find_judge(judge, baseline)
    strategy = open_strategy(
        mode, {"width": width, "margin": margin, "token_budget": token_budget, "round_size": round_size}
    )
    for name in filter(None, (reward, baseline, None if endpoint else judge)):
        require_reward(name)
    contexts = _contexts(seeds, num_conversations, seed)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    names = [reward] if baseline is None else [reward, baseline]
    # Of whole conversations nothing is scored twice; all other modes score them as they grow.
    open_selector = load_reward if mode is Mode.WHOLE else load_growing_reward
    selectors = [_announced(name, open_selector(name)) for name in names]
    judge = judge or ("oracle" if seeds == SANDBOX else None)
    grader = load_reward(judge) if judge and not endpoint else None
    config = BestOfNConfig(num_candidates=n, num_turns=turns, seed=seed, max_in_flight=max_in_flight)
    with _replies_kept(out) as journal:
        players = {"assistant": assistant, "user": user}
        arms = run_async(_play(contexts, selectors, strategy, players, asking, config, journal))
    _check_some_finished(arms)
    if out is not None:  # Before a judge that may fail: the replies were paid for.
        write_arms(out, arms, [None] * len(arms))
    grades = [judge_rollouts(arm, grader) if grader else None for arm in arms]
    result: dict[str, Any] = {
        "mode": mode,
        "strategy": strategy,
        "config": config,
        "assistant": assistant,
        "user": user,
        "seeds": seeds,
        "judge": judge,
        "num_conversations": len(contexts),
        **_findings(names, arms, grades, grader, n if mode in (Mode.GREEDY, Mode.WHOLE) else None),
    }
    if out is not None:
        result["files"] = write_arms(out, arms, grades)
    if endpoint:
        result["comparison"] = run_async(judge_by_model(arms, endpoint, judging, out))
    emit(result, json, _shown(result))


def _announced(name: str, reward: RewardFunction) -> RewardFunction:
    """Tell which selector is in use, and that it can be; a model describes itself and its device."""
    described = getattr(reward, "description", "")
    console.print(f"selector {name}{': ' if described else ''}{described}", markup=False)
    reward([])  # a server that cannot be used is found out before replies are paid for
    return reward


def _contexts(seeds: str, num: int, seed: int) -> Sequence[Conversation]:
    """Return the prompts to start from, and say where there are fewer than asked for."""
    found = load_seeds(seeds, num, seed)
    if len(found) < num:
        console.print(f"{num} conversations asked for; {seeds} has prompts for {len(found)}", markup=False)
    return found


async def _play(
    contexts: Sequence[Conversation],
    selectors: Sequence[RewardFunction],
    strategy: Strategy,
    endpoints: dict[str, str],
    asking: dict[str, PlayerOptions],
    config: BestOfNConfig,
    journal: Path | None,
) -> list[list[Rollout]]:
    """Run one arm per selector, over endpoints opened for the purpose; what was asked before is not asked again."""
    from functools import partial

    from music_envs.best_of_n.remembering import open_players
    from music_envs.best_of_n.strategy import run_best_of_n

    async with open_players(endpoints, asking, journal) as players:
        # At the most: a seed that ends with the user needs no message at first, and some modes stop early.
        total = len(contexts) * strategy.max_calls(config) * len(selectors)
        with counted("replies", total, is_bound=True) as advance:
            said = partial(advance, 1)
            play = partial(run_best_of_n, contexts, **players, config=config, strategy=strategy, on_call=said)
            return [await play(reward=selector) for selector in selectors]


@contextmanager
def _replies_kept(out: Path | None) -> Iterator[Path | None]:
    """Give the file that keeps every reply, and where what is done over it fails, say so."""
    journal = None if out is None else out / "replies.sqlite"
    try:
        yield journal
    except BaseException:
        if journal is not None:
            console.print(f"{journal} keeps all replies so far: the same command resumes from there", markup=False)
        raise


def _check_some_finished(arms: Sequence[Sequence[Rollout]]) -> None:
    """Fail if an arm has no conversation to show, with the first reason."""
    from music.errors import MusicError

    for arm in arms:
        if all(rollout.is_failed for rollout in arm):
            raise MusicError(f"all {len(arm)} conversations failed; the first: {arm[0].error}")


def _findings(
    names: Sequence[str],
    arms: Sequence[Sequence[Rollout]],
    grades: Sequence[Sequence[float | None] | None],
    judge: RewardFunction | None,
    num_candidates: int | None,
) -> dict[str, Any]:
    """Return a report of each arm, and the comparison if there are two arms; by n where N is given."""
    from music_envs.best_of_n.by_n import score_by_n
    from music_envs.best_of_n.report import report_arm
    from music_envs.comparison import compare

    reports = []
    for name, arm, graded in zip(names, arms, grades, strict=True):
        by_n = score_by_n(arm, num_candidates=num_candidates, judge=judge) if num_candidates else []
        reports.append(report_arm(name, arm, graded, by_n))
    both = [graded for graded in grades if graded is not None]
    return {"arms": reports, "comparison": compare(*both) if len(both) == 2 else None}


def _shown(result: dict[str, Any]) -> RenderableType:
    """Lay the result out for people."""
    from rich.console import Group
    from rich.text import Text

    from music_envs.best_of_n.report import arms_table, by_n_table

    config, judge, arms = result["config"], result["judge"], result["arms"]
    sizes = f"{config.num_turns} turns, {result['num_conversations']} conversations"
    title = f"Best-of-{config.num_candidates}, {sizes}, {result['mode']}"
    shown: list[RenderableType] = [arms_table(title, judge, arms)]
    shown += [by_n_table(arm, judge) for arm in arms if arm.by_n]
    if any(arm.by_n for arm in arms):
        shown.append(Text(GAP))
    if result["comparison"]:
        shown.append(Text(f"{' against '.join(arm.selector for arm in arms)}: {result['comparison']}"))
    shown += [Text(f"rollouts: {path}") for path in result.get("files", {}).values()]
    return Group(*shown)
